"""Groups of HTTP clients: what is written and published, positions, next links."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

import pytest
from asgiref.sync import async_to_sync
from django.core.signing import Signer
from django.db import connection, transaction

from grip_consumers import mailbox, publisher, streams
from grip_consumers.exceptions import PublishError, SubscriptionLimitExceeded
from grip_consumers.generic.websocket import AsyncWebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.naming import stream_channel
from grip_consumers.protocol import Response, StreamChunk, TextMessage
from grip_consumers.registry import register_stream
from grip_consumers.streams import Backlog, Entry, Written

from . import batches

wsgi_site = batches.wsgi_site


class Plain:
    """Sends an event's text to its clients, as it is."""

    expiry: ClassVar[float] = 60.0
    keep_alive: ClassVar[int | None] = None
    rendered: ClassVar[int] = 0

    @classmethod
    def grip_handles(cls, handler: str) -> bool:
        return handler == "group_said"

    @classmethod
    async def grip_render(cls, handler: str, event: Any) -> list[Entry]:
        cls.rendered += 1
        event["text"], text = "changed by a handler", event["text"]
        return [Entry(text)] if text else []

    @classmethod
    def grip_format(cls, written: Written) -> StreamChunk:
        return StreamChunk(f"{written.entry.content}@{written.position}")

    @classmethod
    def grip_next(cls, backlog: Backlog) -> Response:
        return Response(200, [], "".join(str(written.entry.content) for written in backlog.entries).encode())


class Other(Plain):
    """Another class, with logs of its own."""


@pytest.fixture
def site(wsgi_site: batches.Site) -> batches.Site:
    return wsgi_site


class Clock:
    """The mailbox's."""

    now = 1_800_000_000.0


@pytest.fixture
def clock(site: batches.Site, monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(mailbox.get(), "_clock", lambda: found.now)
    return found


@pytest.fixture
def plain(site: batches.Site) -> type[Plain]:
    register_stream(Plain)
    Plain.rendered = Other.rendered = 0
    return Plain


def send(group: str, text: str, kind: str = "group.said") -> None:
    async_to_sync(get_channel_layer().group_send)(group, {"type": kind, "text": text})


def channel(group: str, cls: type[Any] = Plain) -> str:
    return stream_channel("", group, streams.name_of(cls))


# Sending ------------------------------------------------------------------------------------------------------------


def test_an_item_follows_the_one_before_in_its_group(site: batches.Site, plain: Any) -> None:
    for text in ("a", "b", "c"):
        send("lobby", text)
    send("elsewhere", "x")
    first, second, third, other = site.published
    assert {item.channel for item in (first, second, third)} == {channel("lobby")}
    assert (second.prev_id, third.prev_id) == (first.id, second.id)
    assert int(third.id) == int(first.id) + 2
    # What begins a log follows nothing: whoever is held asks what is new.
    assert (first.prev_id, other.prev_id) == (None, None)
    assert [item.message.content for item in (first, other)] == [f"a@{first.id}", f"x@{other.id}"]


def test_a_log_that_has_expired_begins_anew(site: batches.Site, plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    send("lobby", "a")
    clock = mailbox.get()._clock
    monkeypatch.setattr(mailbox.get(), "_clock", lambda: clock() + 3_600)
    mailbox.get()._sweep(clock() + 3_600)  # type: ignore[attr-defined]
    send("lobby", "b")
    assert int(site.published[1].id) > int(site.published[0].id) + 1_000_000
    assert site.published[1].prev_id is None


def test_the_handler_runs_once_for_each_class_with_an_event_of_its_own(site: batches.Site, plain: Any) -> None:
    register_stream(Other)
    send("lobby", "a")
    assert (Plain.rendered, Other.rendered) == (1, 1)
    assert [item.message.content.partition("@")[0] for item in site.published] == ["a", "a"]
    assert {item.channel for item in site.published} == {channel("lobby"), channel("lobby", Other)}


def test_websockets_and_streams_are_served_by_one_publish(
    site: batches.Site, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[list[Any]] = []

    async def record(items: Any) -> None:
        published.append([item.message for item in items])

    class Room(AsyncWebsocketConsumer):
        async def group_said(self, event: Any) -> None:
            await self.send(text_data=f"<{event['text']}>")

    site.serve(batches.importable(Room))
    monkeypatch.setattr(publisher, "apublish", record)
    send("lobby", "a")
    ((text, chunk),) = published
    assert text == TextMessage("<a>")
    assert isinstance(chunk, StreamChunk)


@pytest.mark.parametrize(("text", "kind"), [("", "group.said"), ("a", "group.unheard"), ("a", "_broken")])
def test_nothing_is_published_of_what_no_handler_sends(site: batches.Site, plain: Any, text: str, kind: str) -> None:
    send("lobby", text, kind)
    assert site.published == []


@pytest.mark.parametrize("loaded", [True, False])
def test_no_urls_are_imported_on_an_event_loop(
    site: batches.Site, plain: Any, monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(streams, "is_loaded", lambda: loaded)
    monkeypatch.setattr(streams, "stream_classes", lambda: threads.append(threading.get_ident()) or [Plain])

    async def ask() -> bool:
        assert list(await streams.ahandling("group_said")) == [Plain]
        return threads == [threading.get_ident()]

    assert asyncio.run(ask()) is loaded


def test_a_project_without_asgi_application_can_send_to_streams(site: batches.Site, plain: Any, settings: Any) -> None:
    del settings.ASGI_APPLICATION
    send("lobby", "a")
    assert len(site.published) == 1


def test_a_publish_that_fails_is_told_and_can_be_caught_up_with(
    site: batches.Site, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(items: Any) -> None:
        raise PublishError({"proxy": "down"})

    monkeypatch.setattr(publisher, "apublish", refuse)
    before = streams.look_back([channel("lobby")], {}).positions
    with pytest.raises(PublishError):
        send("lobby", "a")
    assert [written.entry.content for written in streams.look_back([channel("lobby")], before).entries] == ["a"]


@pytest.fixture
def _sqlite(site: batches.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox like one on SQLite, which shares its caller's transaction."""
    monkeypatch.setattr(type(mailbox.get()), "when_visible", lambda self, done: transaction.on_commit(done))
    for name in ("blocking", "thread_sensitive"):
        monkeypatch.setattr(type(mailbox.get()), name, True)


@pytest.mark.parametrize("text", ["x" * 1_000_001, "\0" * 170_000])
def test_what_no_proxy_takes_is_not_written_either(site: batches.Site, plain: Any, text: str) -> None:
    before = streams.look_back([channel("lobby")], {}).positions
    with pytest.raises(PublishError, match="1,000,000"):
        send("lobby", text)
    assert streams.look_back([channel("lobby")], before).entries == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_sqlite")
def test_a_publish_that_fails_after_the_commit_stops_nobody_else(
    site: batches.Site, plain: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(items: Any) -> None:
        raise PublishError({"proxy": "down"})

    monkeypatch.setattr(publisher, "publish", refuse)
    called: list[str] = []
    with transaction.atomic():
        send("lobby", "a")
        transaction.on_commit(lambda: called.append("later"))
    assert called == ["later"]
    assert "down" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_sqlite")
def test_what_a_transaction_holds_back_is_published_when_it_is_committed(site: batches.Site, plain: Any) -> None:
    with transaction.atomic():
        send("lobby", "undone")
        transaction.set_rollback(True)
    with transaction.atomic():
        send("lobby", "a")
        assert connection.in_atomic_block
        assert site.published == []
    assert [item.message.content.partition("@")[0] for item in site.published] == ["a"]


# Catching up --------------------------------------------------------------------------------------------------------


def test_a_client_reads_what_lies_behind_its_position(site: batches.Site, plain: Any) -> None:
    for text in ("a", "b", "c"):
        send("lobby", text)
    ids = [int(item.id) for item in site.published]
    backlog = streams.look_back([channel("lobby")], {channel("lobby"): ids[0]})
    assert [(written.entry.content, written.position) for written in backlog.entries] == [("b", ids[1]), ("c", ids[2])]
    assert (backlog.positions, backlog.complete) == ({channel("lobby"): ids[2]}, True)


def test_entries_of_several_groups_come_in_the_order_of_their_sending(site: batches.Site, plain: Any) -> None:
    for group, text in (("b", "1"), ("a", "2"), ("b", "3")):
        send(group, text)
    channels = [channel("a"), channel("b")]
    backlog = streams.look_back(channels, dict.fromkeys(channels, 1))
    assert [written.entry.content for written in backlog.entries] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("known", "read", "complete"),
    [
        ({}, [], False),  # a new client: from now on
        ({"other": 7}, [], False),
        ({"lobby": 0}, ["a", "b"], False),
        ({"lobby": 1}, ["a", "b"], False),  # from before the log began
        ({"lobby": "first"}, ["b"], True),
        ({"lobby": "second"}, [], True),
        ({"lobby": 2**62}, ["a", "b"], False),  # made up
    ],
)
def test_what_a_client_says_it_knows_may_be_anything(
    site: batches.Site, plain: Any, known: dict[str, Any], read: list[str], complete: bool
) -> None:
    for text in ("a", "b"):
        send("lobby", text)
    ids = dict(zip(("first", "second"), (int(item.id) for item in site.published), strict=True))
    told = {channel(group): ids.get(position, position) for group, position in known.items()}
    backlog = streams.look_back([channel("lobby")], told)
    assert [written.entry.content for written in backlog.entries] == read
    assert (backlog.positions, backlog.complete) == ({channel("lobby"): ids["second"]}, complete)


def test_in_an_empty_log_a_client_is_told_the_time(site: batches.Site, plain: Any, clock: Clock) -> None:
    lobby = channel("lobby")
    known = streams.look_back([lobby], {}).positions
    # A little behind, for senders whose clocks are; in steps, since clients at one position share requests.
    assert known == {lobby: 1_799_999_995_000_000}
    clock.now += 4.9
    assert streams.look_back([lobby], {}).positions == known
    clock.now += 0.1
    again = streams.look_back([lobby], known)
    assert (again.positions, again.entries, again.complete) == ({lobby: known[lobby] + 5_000_000}, [], True)
    assert not streams.look_back([lobby], {lobby: 0}).complete


@pytest.mark.parametrize(("away", "complete"), [(0, True), (49, True), (51, False), (3_600, False)])
@pytest.mark.parametrize("idle", [True, False])
def test_what_has_expired_while_a_client_was_away_is_not_taken_for_nothing(
    site: batches.Site, plain: Any, clock: Clock, away: int, complete: bool, idle: bool
) -> None:
    known = streams.look_back([channel("lobby")], {}).positions
    clock.now += away / 2
    if not idle:
        send("lobby", "a")
    clock.now += away / 2
    backlog = streams.look_back([channel("lobby")], known)
    read = [] if idle or away == 3_600 else ["a"]
    assert ([written.entry.content for written in backlog.entries], backlog.complete) == (read, complete)


def test_who_came_when_all_had_expired_gets_what_a_log_goes_on_with(
    site: batches.Site, plain: Any, clock: Clock
) -> None:
    send("lobby", "a")
    clock.now += 90
    known = streams.look_back([channel("lobby")], {}).positions
    send("lobby", "b")
    # The log had not been cleared away: its positions go on behind the time.
    assert int(site.published[1].id) < known[channel("lobby")]
    backlog = streams.look_back([channel("lobby")], known)
    assert [written.entry.content for written in backlog.entries] == ["b"]
    assert (backlog.positions, backlog.complete) == ({channel("lobby"): int(site.published[1].id)}, True)


def test_a_client_does_not_step_back_to_an_end_that_lags_behind(
    site: batches.Site, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("a", "b", "c"):
        send("lobby", text)
    ids = [int(item.id) for item in site.published]
    # As in a cache, where one of two senders has not told yet how far it is.
    monkeypatch.setattr(mailbox.get(), "look", lambda logs, flags=(): (dict.fromkeys(logs, ids[0]), frozenset()))
    for known, read in ((1, ["c"]), (2, [])):
        backlog = streams.look_back([channel("lobby")], {channel("lobby"): ids[known]})
        assert [written.entry.content for written in backlog.entries] == read
        assert (backlog.positions, backlog.complete) == ({channel("lobby"): ids[2]}, True)


def test_who_joins_an_empty_group_gets_what_comes_then(site: batches.Site, plain: Any, clock: Clock) -> None:
    membership = streams.Membership(Plain, "some!channel")
    membership.add("lobby")
    send("lobby", "a")
    (entry,) = streams.look_back(list(membership.positions), membership.positions).entries
    assert entry.entry.content == "a"


def test_entries_are_kept_as_long_as_the_class_says(site: batches.Site, plain: Any, monkeypatch: Any) -> None:
    kept: list[float] = []
    append = mailbox.get().append

    def record(*args: Any, expiry: float) -> int:
        kept.append(expiry)
        return append(*args, expiry=expiry)

    monkeypatch.setattr(mailbox.get(), "append", record)
    for seconds in (600.0, 1.0):
        monkeypatch.setattr(Plain, "expiry", seconds)
        send("lobby", "a")
    assert kept == [600.0, 60.0]


# Ids ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("a:1.b:2", {"a": 1, "b": 2}),
        ("a:1.b:2.a:3", {"a": 3, "b": 2}),  # what the proxy wrote, and the item's own behind it
        ("_-Z9:0", {"_-Z9": 0}),
        ("", {}),
        ("a", {}),
        ("a:", {}),
        ("a:-1", {}),
        ("a:1.", {}),
        ("a:1.b", {}),
        ("a:1,b:2", {}),
        ("ä:1", {}),
        ("a:1\n", {}),
        ("a:\u0661", {}),  # a digit to Python
        (f"a:{2**63}", {}),
        ("a:1." * 2_000 + "a:1", {}),
        (f"{'a' * 65}:1", {}),
    ],
)
def test_an_id_is_taken_for_one_only_as_it_was_written(text: str, positions: dict[str, int]) -> None:
    assert streams.parse_id(text) == positions


def test_an_id_comes_back_as_it_was() -> None:
    positions = {channel("lobby"): 1_700_000_000_000_000, channel("b"): 0}
    assert streams.parse_id(streams.format_id(positions)) == positions


def test_an_entry_tells_the_proxy_how_to_write_its_id() -> None:
    assert streams.own_id(Written("ab", 5, Entry("x"))) == "%I.ab:5"
    assert streams.escape("100 %I") == "100 %%I"
    assert streams.id_meta(["ab", "cd"]) == {"id_format": "ab:%(ab)s.cd:%(cd)s"}


# Holds and next links -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expiry", "seconds"), [(1.0, 1), (60.0, 42), (100_000.0, 600)])
def test_a_link_is_followed_before_the_log_expires(
    plain: Any, monkeypatch: pytest.MonkeyPatch, expiry: float, seconds: int
) -> None:
    monkeypatch.setattr(Plain, "expiry", expiry)
    hold = streams.stream_hold(Plain, {"ab": 5}, first=False)
    assert hold.next_link_timeout == seconds


def test_a_hold_goes_on_from_the_positions_and_asks_again_once(site: batches.Site, plain: Any) -> None:
    headers = dict(streams.stream_hold(Plain, {"ab": 5}, first=True, filters=("build-id",)).headers())
    link = headers.pop("Grip-Link")
    assert headers == {
        "Grip-Hold": "stream",
        "Grip-Channel": "ab; prev-id=5; filter=build-id",
        "Grip-Set-Meta": 'id_format="ab:%(ab)s"',
    }
    assert link.startswith(f"<?{streams.LINK}=")
    assert link.endswith(">; rel=next; timeout=1")
    # Before a position of which nothing is left to be seen would be too old.
    later = dict(streams.stream_hold(Plain, {"ab": 5}, first=False).headers())["Grip-Link"]
    assert later.endswith(">; rel=next; timeout=42")


def link_query(*channels: str) -> str:
    return streams.next_link(Plain, channels).removeprefix("?")


def test_a_next_link_is_answered_with_what_lies_behind_grip_last(site: batches.Site, plain: Any) -> None:
    for text in ("a", "b"):
        send("lobby", text)
    last = f"{channel('lobby')}; last-id={site.published[0].id}"
    answer = streams.follow(f"x=1&{link_query(channel('lobby'))}", "signed", [last])
    assert answer == Response(200, [], b"b")
    for broken in ([], ["nonsense"], [f"{channel('lobby')}; last-id=x"], ["other; last-id=0"]):
        assert streams.follow(link_query(channel("lobby")), "signed", broken) == Response(200, [], b"")


def test_other_requests_are_no_next_links(site: batches.Site, plain: Any) -> None:
    for query in ("", "since=5", f"x={streams.LINK}"):
        assert streams.follow(query, "signed", []) is None


def test_a_forged_next_link_is_refused(site: batches.Site, plain: Any) -> None:
    signed = link_query(channel("lobby"))
    forged = [
        signed.replace(channel("lobby"), channel("vault")),
        f"{streams.LINK}=",
        f"{streams.LINK}={Signer(salt='another').sign('x/y')}",
        f"{streams.LINK}={Signer(salt='grip_consumers.streams').sign('os:system/ab/0')}",
    ]
    for query in forged:
        answer = streams.follow(query, "signed", [])
        assert answer is not None
        assert answer.status == 403


def test_a_next_link_without_a_proxy_is_refused(site: batches.Site, plain: Any, settings: Any) -> None:
    answer = streams.follow(link_query("ab"), None, [])
    assert answer is not None
    assert answer.status == 403
    settings.GRIP_PROXIES = [{"control_uri": "http://localhost:5561", "key": "a secret that signs for the proxy"}]
    answer = streams.follow(link_query("ab"), "forged", [])
    assert answer is not None
    assert answer.status == 403


def test_more_groups_than_a_proxy_serves_are_refused(settings: Any) -> None:
    settings.GRIP_SUBSCRIPTION_LIMIT = 2
    assert len(streams.channels_of(Plain, ["a", "b", "a"])) == 2
    with pytest.raises(SubscriptionLimitExceeded, match="c"):
        streams.channels_of(Plain, ["a", "b", "c"])
