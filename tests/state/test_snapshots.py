from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.base import SessionBase
from django.core.files.base import ContentFile
from django.db import connection, models
from django.db.models import F, Prefetch, Value
from django.test.utils import CaptureQueriesContext, isolate_apps

from grip_consumers.state import CannotEncode, decode, encode
from tests.state.kept import OwnSession, Player
from tests.state.models import Member, Money, PublicRoom, Room, Topic


class NoQuery(CaptureQueriesContext):
    """Fails when something within it asks the database."""

    def __init__(self) -> None:
        super().__init__(connection)

    def __exit__(self, kind: Any, *args: Any) -> None:
        super().__exit__(kind, *args)
        if kind is None:
            assert [query["sql"] for query in self.captured_queries] == []


def back(value: Any) -> Any:
    with NoQuery():
        encoded = encode(value)
        again = decode(encoded)
        assert encode(again) == encoded
    assert type(again) is type(value)
    return again


def contents(instance: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(instance).items() if name not in {"_state", "password", "_password"}}


@pytest.fixture
def owner(tables: None) -> Member:
    return Member.objects.create(name="ann", password="pbkdf2$secret")


@pytest.fixture
def room(owner: Member) -> Room:
    return Room.objects.create(name="lobby", owner=owner, price=Money(5), data=b"\x00\xff")


def test_an_instance_comes_back_as_it_was_without_a_query(room: Room) -> None:
    stored = Room.objects.get()
    again = back(stored)
    assert again == stored
    assert contents(again) == contents(stored)
    assert (again._state.db, again._state.adding) == ("default", False)


def test_a_change_that_is_not_saved_is_kept(room: Room) -> None:
    room.name = "kitchen"
    again = back(room)
    assert again.name == "kitchen"
    again.save()
    assert Room.objects.get().name == "kitchen"


def test_an_instance_that_was_never_saved_is_still_to_be_added(tables: None) -> None:
    again = back(Room(name="new"))
    assert (again.pk, again._state.db, again._state.adding) == (None, None, True)
    again.save()
    assert Room.objects.get().name == "new"


def test_a_cached_foreign_key_is_read_without_a_query(room: Room) -> None:
    again = back(Room.objects.select_related("owner").get())
    with NoQuery():
        assert again.owner.name == "ann"
    assert type(again.owner) is Member


def test_a_foreign_key_that_was_not_read_is_read_when_it_is_asked_for(room: Room) -> None:
    again = back(Room.objects.get())
    with CaptureQueriesContext(connection) as queries:
        assert again.owner.name == "ann"
    assert len(queries) == 1


def test_a_foreign_key_to_nothing_is_kept(tables: None) -> None:
    Room.objects.create(name="empty")
    again = back(Room.objects.select_related("owner").get())
    with NoQuery():
        assert again.owner is None


def test_a_one_to_one_relation_leads_back_to_the_very_instance(room: Room) -> None:
    Topic.objects.create(room=room, text="cats")
    loaded = Room.objects.select_related("topic").get()
    assert loaded.topic.room is loaded
    again = back(loaded)
    with NoQuery():
        assert again.topic.text == "cats"
        assert again.topic.room is again
    topic = back(Topic.objects.select_related("room__owner").get())
    with NoQuery():
        assert topic.room.topic is topic
        assert topic.room.owner.name == "ann"


def test_prefetched_instances_in_a_list_lead_back_to_the_very_instance(room: Room) -> None:
    owner = Member.objects.prefetch_related(Prefetch("room_set", to_attr="rooms")).get()
    again = back(owner)
    with NoQuery():
        assert [found.name for found in again.rooms] == ["lobby"]
        assert again.rooms[0].owner is again


def test_prefetched_rows_are_asked_for_again(room: Room) -> None:
    again = back(Member.objects.prefetch_related("room_set").get())
    assert [found.name for found in again.room_set.all()] == ["lobby"]


def test_one_instance_under_two_names_is_one_instance_afterwards(room: Room) -> None:
    again = decode(encode({"room": room, "rooms": [room], "owner": room.owner}))
    assert again["room"] is again["rooms"][0]
    assert again["room"].owner is again["owner"]


def test_a_deferred_field_stays_deferred(room: Room) -> None:
    again = back(Room.objects.only("id", "owner").get())
    assert again.get_deferred_fields() == {"name", "picture", "price", "data"}
    with CaptureQueriesContext(connection) as queries:
        assert again.name == "lobby"
    assert len(queries) == 1


def test_an_annotation_is_kept(room: Room) -> None:
    again = back(Room.objects.annotate(twice=F("id") * 2, word=Value("x")).get())
    assert (again.twice, again.word) == (room.pk * 2, "x")


def test_a_proxy_model_comes_back_as_itself(room: Room) -> None:
    assert type(back(PublicRoom.objects.get())) is PublicRoom


def test_a_file_field_is_kept_by_name(room: Room) -> None:
    room.picture = "rooms/lobby.png"
    assert room.picture.name == "rooms/lobby.png"
    again = back(room)
    assert again.picture.name == "rooms/lobby.png"
    assert again.picture.instance is again
    assert again.picture.field is Room._meta.get_field("picture")


def test_a_file_that_was_not_saved_yet_is_refused(room: Room) -> None:
    room.picture = ContentFile(b"x", name="x.png")
    assert room.picture.name == "x.png"
    with pytest.raises(CannotEncode, match="has not been saved yet"):
        encode(room)


def test_a_field_file_by_itself_is_refused_with_what_to_keep(room: Room) -> None:
    with pytest.raises(CannotEncode, match="keep its name, or the instance"):
        encode(room.picture)


def test_a_field_with_a_type_of_its_own_is_kept_as_its_text(room: Room) -> None:
    again = back(Room.objects.get())
    assert again.price == Money(5)


def test_an_expression_in_a_field_is_refused(room: Room) -> None:
    room.price = F("price") + 1
    with pytest.raises(CannotEncode) as caught:
        encode(room)
    assert caught.value.value_type == "django.db.models.expressions.CombinedExpression"
    room.price, room.name = None, F("name")  # type: ignore[assignment]
    with pytest.raises(CannotEncode) as caught:
        encode(room)
    assert caught.value.value_type == "django.db.models.expressions.F"


def test_a_cached_property_is_kept_or_else_computed_anew(room: Room) -> None:
    assert room.shout == "LOBBY"
    client = room.client
    room.name = "x"
    again = back(room)
    assert vars(again)["shout"] == "LOBBY"
    assert again.client is not client


def test_a_private_cache_that_cannot_be_kept_is_left_out(room: Room) -> None:
    room._tracker = object()  # type: ignore[attr-defined]
    room._seen = {1}  # type: ignore[attr-defined]
    again = back(room)
    assert again._seen == {1}
    assert not hasattr(again, "_tracker")


def test_objects_that_a_failed_attempt_has_met_are_written_all_the_same(room: Room) -> None:
    player, room.price = Player("ann"), None
    room._players = [player]  # type: ignore[attr-defined]
    room._tracker = object()  # type: ignore[attr-defined]
    again, other, same = decode(encode([room, Player("bob"), player]))
    assert again._players == [player]
    assert again._players[0] is same
    assert other == Player("bob")


def test_another_attribute_that_cannot_be_kept_is_refused(room: Room) -> None:
    room.lock = object()  # type: ignore[attr-defined]
    with pytest.raises(CannotEncode) as caught:
        encode(room)
    assert caught.value.value_type == "object"


def test_a_password_is_not_in_the_bytes(owner: Member) -> None:
    owner.set_password("plain-password")
    room = Room(name="x", owner=owner)
    for value in (owner, [owner], room, {"user": owner}):
        encoded = encode(value)
        assert b"ann" in encoded
        assert b"plain-password" not in encoded
        assert b"password" not in encoded
        assert owner.password.encode() not in encoded


def test_saving_a_user_that_came_back_does_not_touch_the_password(owner: Member) -> None:
    again = back(Member.objects.get())
    assert again.get_deferred_fields() == {"password"}
    again.name = "bob"
    with CaptureQueriesContext(connection) as queries:
        again.save()
    assert len(queries) == 1
    assert (Member.objects.get().name, Member.objects.get().password) == ("bob", "pbkdf2$secret")
    assert again.password == "pbkdf2$secret"


@pytest.mark.django_db
def test_django_s_own_user_keeps_its_permissions_and_groups() -> None:
    user = User.objects.create_user("bob", "bob@example.com", "secret")
    kind = ContentType.objects.get_for_model(User)
    user.user_permissions.add(Permission.objects.create(codename="fly", name="fly", content_type=kind))
    user = User.objects.get()
    assert user.has_perm("auth.fly")
    again = back(user)
    with NoQuery():
        assert again.has_perm("auth.fly")
        assert (again.username, again.is_authenticated, again.date_joined) == ("bob", True, user.date_joined)
    assert again.check_password("secret")


def test_a_model_that_is_not_installed_is_refused(room: Room) -> None:
    with isolate_apps("tests.state"):

        class Stray(models.Model):
            class Meta:
                app_label = "state_tests"

        class Twin(models.Model):
            class Meta:
                app_label = "state_tests"

    Twin._meta.model_name = "room"
    for stray in (Stray(), Twin()):
        with pytest.raises(CannotEncode, match="no installed application has this class as its model"):
            encode(stray)


def test_query_sets_and_managers_are_refused_with_what_to_keep() -> None:
    for value, text in [(User.objects.all(), r"keep its rows, list\(queryset\)"), (User.objects, "keep the instance")]:
        with pytest.raises(CannotEncode, match=text):
            encode({"rooms": value})


@pytest.mark.django_db
def test_the_anonymous_user_comes_back_with_what_was_put_on_it() -> None:
    user = AnonymousUser()
    user.nickname = "guest"  # type: ignore[attr-defined]
    again = back(user)
    assert again == user
    assert (again.nickname, again.is_anonymous, again.pk) == ("guest", True, None)


@pytest.mark.django_db
@pytest.mark.parametrize("engine", ["db", "cache", "cached_db", "signed_cookies", "file"])
def test_a_session_is_kept_with_its_content_and_marks(engine: str) -> None:
    session: SessionBase = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore()
    session["colour"] = {"a": [1]}
    session.save()
    again = back(session)
    with NoQuery():
        assert again["colour"] == {"a": [1]}
    assert again.session_key == session.session_key
    assert (again.modified, again.accessed) == (True, True)
    again["colour"]["b"] = 1
    again.save()
    assert type(session)(again.session_key)["colour"] == {"a": [1], "b": 1}
    session.delete()


@pytest.mark.django_db
def test_a_session_that_nobody_read_is_still_to_be_loaded() -> None:
    store: Any = import_module("django.contrib.sessions.backends.db").SessionStore
    session = store()
    session["a"] = 1
    session.save()
    again = back(store(session.session_key))
    assert (again.modified, again.accessed) == (False, False)
    with CaptureQueriesContext(connection) as queries:
        assert again["a"] == 1
    assert len(queries) == 1


@pytest.mark.django_db
def test_a_session_class_of_the_project_comes_back_as_itself() -> None:
    session = OwnSession("k" * 12)
    session._session_cache = {"a": (1,)}  # type: ignore[attr-defined]
    assert back(session)["a"] == (1,)
