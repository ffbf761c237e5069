from __future__ import annotations

import copy
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils.functional import LazyObject, SimpleLazyObject, empty

from grip_consumers.auth import UserLazyObject
from grip_consumers.state import CannotDecode, CannotEncode, StoredLazyObject, decode, encode
from tests.state.kept import LazyThing, Point


class Placeholder(StoredLazyObject):
    pass


def holding(lazy: Any, value: Any) -> Any:
    lazy._wrapped = value
    return lazy


def looked_at(lazy: Any) -> bool:
    return lazy.__dict__["_wrapped"] is not empty


def test_a_stored_object_is_decoded_when_somebody_looks() -> None:
    again = decode(encode(holding(StoredLazyObject(), Point(1))))
    assert not looked_at(again)
    assert again.x == 1
    assert looked_at(again)
    assert again == Point(1)


def test_a_subclass_comes_back_as_what_it_is() -> None:
    again = decode(encode(holding(UserLazyObject(), AnonymousUser())))
    assert type(again) is UserLazyObject
    assert not looked_at(again)
    assert again.is_anonymous
    assert isinstance(again, AnonymousUser)


def test_what_nobody_looked_at_is_stored_without_being_decoded() -> None:
    encoded = encode(holding(Placeholder(), Point(1)))
    again = decode(encoded)
    assert encode(again) == encoded
    assert not looked_at(again)


def test_what_somebody_looked_at_gives_the_same_bytes_until_it_changes() -> None:
    encoded = encode(holding(Placeholder(), Point(1, [2])))
    again = decode(encoded)
    assert again.y == [2]
    assert encode(again) == encoded
    again.y.append(3)
    assert decode(encode(again)).y == [2, 3]


def test_an_attribute_can_be_set_on_the_object_behind() -> None:
    user = decode(encode(holding(UserLazyObject(), AnonymousUser())))
    user.nickname = "ann"
    assert decode(encode(user)).nickname == "ann"


def test_a_placeholder_stays_one_and_says_that_it_was_read_too_early() -> None:
    for kind, text in [
        (StoredLazyObject, "StoredLazyObject was read before it was given its object"),
        (UserLazyObject, r"Accessing scope user before it is ready\."),
    ]:
        again = decode(encode(kind()))
        assert type(again) is kind
        with pytest.raises(ValueError, match=text):
            _ = again.name


def test_a_placeholder_can_be_filled_after_it_came_back() -> None:
    again = decode(encode(UserLazyObject()))
    again._wrapped = AnonymousUser()
    assert again.is_anonymous


def test_django_s_plain_lazy_object_comes_back_lazy() -> None:
    again = decode(encode(holding(LazyObject(), Point(4))))
    assert isinstance(again, LazyObject)
    assert not looked_at(again)
    assert again == Point(4)
    assert not looked_at(decode(encode(LazyObject())))


def test_a_simple_lazy_object_comes_back_as_one_and_calls_its_function_once() -> None:
    calls: list[int] = []

    def find() -> Point:
        calls.append(1)
        return Point(5)

    encoded = encode(SimpleLazyObject(find))
    again = decode(encoded)
    assert type(again) is SimpleLazyObject
    assert not looked_at(again)
    assert encode(again) == encoded
    assert again == Point(5)
    assert encode(again) == encoded
    assert calls == [1]


def test_a_lazy_object_of_the_project_is_kept_as_what_it_stands_for() -> None:
    again = decode(encode(LazyThing()))
    assert type(again) is StoredLazyObject
    assert again == Point(1, 2)


def test_a_lazy_object_whose_object_cannot_be_found_now_is_refused_with_what_to_do() -> None:
    def find() -> None:
        raise RuntimeError("no loop here")

    with pytest.raises(CannotEncode, match=r"RuntimeError: no loop here\); read it in connect\(\)") as caught:
        encode({"user": SimpleLazyObject(find)})
    assert caught.value.value_type == "django.utils.functional.SimpleLazyObject"


def test_a_lazy_object_around_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(CannotEncode) as caught:
        encode(holding(StoredLazyObject(), object()))
    assert caught.value.value_type == "object"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_of_what_nobody_looked_at_is_the_object(duplicate: Any) -> None:
    again = duplicate(decode(encode(holding(StoredLazyObject(), Point(1, [2])))))
    assert again == Point(1, [2])


def test_a_class_that_is_gone_is_noticed_at_the_first_look() -> None:
    again = decode(encode(holding(StoredLazyObject(), Point(1))).replace(b"Point", b"Paint"))
    with pytest.raises(CannotDecode, match="Paint"):
        _ = again.x
