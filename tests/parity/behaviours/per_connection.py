"""Group handlers that read or change what belongs to their own connection."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ..client import Client, Peer
from . import behaviour
from .errors import NO_CLOSE_FRAME

KINDS = ("member", "async-member")


@contextlib.asynccontextmanager
async def _room(client: Client, kind: str, *names: str) -> AsyncIterator[list[Peer]]:
    """Members of one room; in the end each one is asked something, so that what came too much is seen, and closed."""
    async with client.sockets(f"/ws/{kind}/{client.room(kind)}/", *names) as peers:
        yield peers
        for peer in peers:
            await peer.ask({"report": "last"})
            await peer.close()


async def _all_receive(peers: list[Peer], count: int = 1) -> None:
    for peer in peers:
        await peer.receive(count)


def _group(client: Client, kind: str) -> str:
    return f"members_{client.room(kind)}"


# What each member renders.


@behaviour(("text", "ada", "ada reads hi"), ("text", "bob", "bob in /ws/async- reads hi"))
async def each_member_renders_for_its_own_user(client: Client) -> None:
    """A handler that reads self.user or scope["user"] sends every member its own text."""
    for kind in KINDS:
        path = f"/ws/{kind}/{client.room(kind)}/"
        await client.log_in("ada")
        async with client.socket(f"{path}?ada", "ada") as ada:
            await client.log_in("bob")
            async with client.socket(f"{path}?bob", "bob") as bob:
                client.http.cookies.clear()
                async with client.socket(f"{path}?eve", "eve") as eve:
                    for event_type in ("greet", "greet.by.scope"):
                        await bob.send_json({"type": event_type, "text": "hi"})
                        await _all_receive([ada, bob, eve])
                    await eve.close()
                await bob.close()
            await ada.close()


@behaviour(
    ("text", "a", "a 3"), ("text", "b", "b 3"), ("text", "late", "late 1"), ("journal", "a", [["disconnect", 1000, 3]])
)
async def each_member_counts_for_itself(client: Client) -> None:
    """A handler that counts on self does so for each connection, up to disconnect()."""
    for kind in KINDS:
        path = f"/ws/{kind}/{client.room(kind)}/"
        async with client.sockets(path, "a", "b") as (a, b):
            for sender in (a, b):
                await sender.send_json({"type": "count.up"})
                await _all_receive([a, b])
            async with client.sockets(path, "late") as (late,):
                await a.send_json({"type": "count.up"})
                await _all_receive([a, b, late])
                await late.close()
            await a.close()
            await client.journal("a", until="disconnect", fence=True)
            await b.ask({"report": "last"})
            await b.close()


@behaviour(("text", "b", '["last", "b", 20, "hello", {"by": {}, "texts": []}]'), ("text", "a", "a 20"))
async def a_burst_of_own_events_is_handled_completely(client: Client) -> None:
    """Twenty events sent at once are handled by each member, in order, none twice."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            for _ in range(10):
                await a.send_json({"type": "count.up"})
            await a.send_json({"events": [{"type": "count.up"}] * 10, "direct": "sent"})
            # The direct frame stands somewhere among the sender's copies.
            seen = [str(await a.connection.recv()) for _ in range(21)]
            client.record("without the answer", "a", [text for text in seen if text != "sent"])
            for text in seen:
                if text == "a 20":
                    client.record("text", "a", text)
            await b.receive(20)


@behaviour(
    ("text", "b", '["asked", "b", 0, "hello", {"by": {"b": [1, 2]}, "texts": ["one", "two"]}]'),
    ("text", "a", '["last", "a", 0, "hello", {"by": {"a": [1, 2]}, "texts": ["one", "two"]}]'),
)
async def what_a_group_handler_changes_is_seen_in_receive(client: Client) -> None:
    """Nested attributes that a group handler changes in place, sending nothing, are there at the next message."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            for text in ("one", "two"):
                await a.send_json({"type": "remember", "text": text})
            await a.send_json({"type": "plain", "text": "fence"})
            await _all_receive([a, b])
            await b.ask({"report": "asked"})


@behaviour(("text", "a", "hello you"), ("text", "b", "ahoy you"))
async def a_class_attribute_assigned_by_one_member_stays_with_it(client: Client) -> None:
    """A default of the class that one connection overrides on itself is still the default for the others."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b", "c") as (a, b, c):
            await a.send_json({"type": "greeted", "text": "all"})
            await _all_receive([a, b, c])
            await a.send_json({"type": "rename.greeting", "who": "b", "text": "ahoy"})
            for sender in (a, b):
                await sender.send_json({"type": "greeted", "text": "you"})
                await _all_receive([a, b, c])


@behaviour(("text", "a", "hi in acme"), ("text", "b", "hi in nobody"))
async def a_group_handler_reads_what_middleware_put_into_the_scope(client: Client) -> None:
    """What a middleware added to the scope of one connection is read by that connection's handler."""
    path = f"/ws/behind/tenant-member/{client.room('t')}/"
    async with client.socket(path, "a", headers={"X-Tenant": "acme"}) as a, client.socket(path, "b") as b:
        for sender in (a, b):
            await sender.send("hi")
            await _all_receive([a, b])
        await a.close()
        await b.close()


@behaviour(("text", "b", "B 2"), ("text", "a", "A READS HI"))
async def middleware_that_wraps_send_sees_what_members_render(client: Client) -> None:
    """What a handler sends for its own connection, and what any member would send, both pass the middleware."""
    await client.log_in("a")
    async with client.sockets(f"/ws/behind/upper-member/{client.room('u')}/", "a", "b") as (a, b):
        for event in ({"type": "greet", "text": "hi"}, {"type": "plain", "text": "shared"}):
            await a.send_json(event)
            await _all_receive([a, b])
        await a.send_json({"events": [{"type": "count.up"}] * 2})
        await _all_receive([a, b], 2)
        await a.close()
        await b.close()


@behaviour(("bytes", "a", b"a\x00\xff\r\n"), ("bytes", "b", b"b\x00\xff\r\n"))
async def members_render_binary_frames(client: Client) -> None:
    """Binary frames of a handler that reads its connection."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            await a.send_json({"type": "binary"})
            await _all_receive([a, b])


@behaviour(("text", "b", '{"who": "b", "number": 2, "content": {"n": [1, null, 2.5, "\\u00e9"]}}'))
async def json_consumers_render_for_their_own_connection(client: Client) -> None:
    """send_json() in handlers that count, sync and async."""
    for kind in ("json-member", "async-json-member"):
        async with client.sockets(f"/ws/{kind}/{client.room(kind)}/", "a", "b") as (a, b):
            for _ in range(2):
                await a.send_json({"n": [1, None, 2.5, "é"]})
                await _all_receive([a, b])
            await a.close()
            await b.close()


@behaviour(("text", "a", "a hears of eve"), ("text", "b", "b hears of bob"))
async def dots_and_underscores_name_the_same_handler(client: Client) -> None:
    """chat.user_joined, chat.user.joined and chat_user_joined are one handler."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            for event_type, text in (
                ("chat.user_joined", "eve"),
                ("chat.user.joined", "bob"),
                ("chat_user_joined", "x"),
            ):
                await a.send_json({"type": event_type, "text": text})
                await _all_receive([a, b])


@behaviour(("text", "b", "b late at last"), ("text", "b", "b 1"))
async def a_handler_that_waits_keeps_its_place(client: Client) -> None:
    """An async handler that awaits before it sends is done before the next event is handled."""
    async with _room(client, "async-member", "a", "b") as (a, b):
        events = [{"type": "slow", "text": "late"}, {"type": "count.up"}, {"type": "plain", "text": "end"}]
        await a.send_json({"events": events})
        await _all_receive([a, b], 3)


@behaviour(("http", 200, {"users": ["RUN-async-member-a", "RUN-async-member-b", "RUN-async-member-c"]}))
async def each_member_writes_its_own_row(client: Client) -> None:
    """A handler that writes to the database with something of its own does it once for each member."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b", "c") as peers:
            await peers[0].send_json({"type": "store", "prefix": f"{client.run}-{kind}"})
            await _all_receive(peers)
            await client.get(f"/users/{client.run}-{kind}/")


# Two classes.


@behaviour(
    ("text", "board", "board: somebody reads hi"), ("text", "a", "nobody reads hi"), ("text", "board", "board: x")
)
async def two_classes_handle_one_event_by_handlers_of_one_name(client: Client) -> None:
    """One class renders for each connection, the other one the same for all; both get every event once."""
    room = client.room("r")
    async with (
        client.sockets(f"/ws/member/{room}/", "a", "b") as (a, b),
        client.sockets(f"/ws/async-member/{room}/", "c") as (c,),
        client.sockets(f"/ws/board/{room}/", "board") as (board,),
    ):
        everybody = [a, b, c, board]
        for sender in everybody:
            for event in ({"type": "greet", "text": "hi"}, {"type": "plain", "text": "x"}):
                await sender.send_json(event)
                await _all_receive(everybody)
        for peer in everybody:
            await peer.close()


# Who is meant.


async def _skipping(client: Client, kind: str, event_type: str, **more: Any) -> None:
    async with _room(client, kind, "a", "b", "c") as (a, b, c):
        for sender, others in ((a, [b, c]), (b, [a, c])):
            await sender.send_json({"type": event_type, "text": f"of {sender.name}", **more})
            await _all_receive(others)
            await a.send_json({"type": "plain", "text": "fence"})
            await _all_receive([a, b, c])


@behaviour(("text", "b", "of a"), ("text", "c", "of b"))
async def a_sender_is_skipped_by_its_channel_name(client: Client) -> None:
    """self.channel_name == event["sender"] and return: everybody but the sender gets it."""
    for kind in KINDS:
        await _skipping(client, kind, "skip.left")


@behaviour(("text", "b", "of a"), ("text", "c", "of b"))
async def a_sender_is_skipped_by_the_comparison_the_other_way_round(client: Client) -> None:
    """event["sender"] == self.channel_name, and event["sender"] != self.channel_name."""
    for kind in KINDS:
        for event_type in ("skip.right", "skip.unequal"):
            async with _room(client, f"{kind}", "a", "b") as (a, b):
                await a.send_json({"type": event_type, "text": "of a"})
                await b.receive()
                await b.send_json({"type": event_type, "text": "of b"})
                await a.receive()
    await _skipping(client, "member", "skip.right")


@behaviour(("text", "c", "not for a and b"), ("text", "a", "for a alone"))
async def members_are_chosen_by_a_list_of_channel_names(client: Client) -> None:
    """self.channel_name in event["names"], and not in it."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b", "c") as (a, b, c):
            names = [await a.ask_name(), await b.ask_name()]
            await c.send_json({"type": "skip.listed", "names": names, "text": "not for a and b"})
            await c.receive()
            await a.send_json({"type": "only.listed", "names": names[:1], "text": "for a alone"})
            await a.receive()
            await b.send_json({"type": "only.listed", "names": [], "text": "for nobody"})
            await b.send_json({"type": "skip.listed", "names": [], "text": "for all"})
            await _all_receive([a, b, c])


@behaviour(("text", "a", "me: hi"), ("text", "b", "other: hi"))
async def a_member_knows_its_own_events(client: Client) -> None:
    """Both branches of a comparison of channel names send something."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b", "c") as (a, b, c):
            for sender in (a, b):
                await sender.send_json({"type": "mark.own", "text": "hi"})
                await _all_receive([a, b, c])


@behaviour(("text", "bob", "of ada"), ("text", "ada", "of bob"))
async def a_user_is_skipped_by_its_id(client: Client) -> None:
    """event["user_id"] == self.scope["user"].id: all sockets of the sender's user get nothing."""
    for kind in KINDS:
        path = f"/ws/{kind}/{client.room(kind)}/"
        await client.log_in("ada")
        async with client.sockets(path, "ada", "ada-too") as (ada, too):
            await client.log_in("bob")
            async with client.sockets(path, "bob") as (bob,):
                await ada.send_json({"type": "skip.user", "text": "of ada"})
                await bob.receive()
                await bob.send_json({"type": "skip.user", "text": "of bob"})
                await _all_receive([ada, too])
                for peer in (ada, too, bob):
                    await peer.ask({"report": "last"})
                    await peer.close()


# How handlers are written.


@behaviour(("text", "b", "b caught by request"), ("text", "a", "a tries again"))
async def a_handler_may_catch_whatever_happens(client: Client) -> None:
    """try around the whole handler, with `except Exception` and with a bare `except`."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            await a.send_json({"type": "guarded", "fail": True, "text": "by request"})
            await _all_receive([a, b], 2)
            await a.send_json({"type": "guarded", "fail": False, "text": ""})
            await a.send_json({"type": "guarded.bare", "text": "again"})
            await _all_receive([a, b], 2)


@behaviour(
    ("text", "b", '["xb", {"deeper": {"who": "b"}, "list": ["b"]}]'),
    ("text", "board", '{"deeper": {}, "list": ["board"]}'),
)
async def what_a_handler_does_to_its_event_is_its_own(client: Client) -> None:
    """A handler that changes the event, nested parts too, changes its own copy."""
    for kind in KINDS:
        room = client.room(kind)
        async with (
            client.sockets(f"/ws/{kind}/{room}/", "a", "b") as (a, b),
            client.sockets(f"/ws/board/{room}/", "board") as (board,),
        ):
            for sender in (a, board):
                await sender.send_json({"type": "changing", "text": "x", "nested": {"list": [], "deeper": {}}})
                await _all_receive([a, b, board])
            for peer in (a, b, board):
                await peer.close()


@behaviour(("text", "b", "forwarded hi"), ("text", "b", "b 1"))
async def a_handler_may_call_other_handlers(client: Client) -> None:
    """What any member would send and what only this one would, by one event."""
    async with _room(client, "member", "a", "b") as (a, b):
        await a.send_json({"type": "forwarded", "text": "hi"})
        await _all_receive([a, b], 2)


@behaviour(("text", "b", "2. two for b"), ("text", "b", "signed b"))
async def a_handler_may_be_spread_over_mixins(client: Client) -> None:
    """super() along a chain of mixins, each with something of the connection."""
    async with client.sockets(f"/ws/chain/{client.room('c')}/", "a", "b") as (a, b):
        for text in ("one", "two"):
            await a.send(text)
            await _all_receive([a, b], 2)
        await a.close()
        await b.close()


@behaviour(("text", "b", "yours, Doctor bob (B)"), ("text", "a", "Doctor ada"))
async def a_handler_may_read_properties(client: Client) -> None:
    """Helper methods, properties, cached properties and getattr() that read self."""
    room = f"/ws/member/{client.room('p')}/"
    async with client.socket(f"{room}?ada", "a") as a, client.socket(f"{room}?bob", "b") as b:
        for _ in range(2):
            await a.send_json({"type": "by.property", "text": "yours"})
            await _all_receive([a, b])
        for attribute in ("title", "who", "greeting"):
            await a.send_json({"type": "by.name", "attribute": attribute})
            await _all_receive([a, b])
        await a.close()
        await b.close()


# Order.


@behaviour(("text", "a", "direct"), ("text", "a", "a 1"))
async def what_is_sent_directly_comes_before_a_members_own_copy(client: Client) -> None:
    """A handler's own send() overtakes the copies of what it sent before to its group."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            await a.send_json({"events": [{"type": "count.up"}, {"type": "plain", "text": "x"}], "direct": "direct"})
            await a.receive(3)
            await b.receive(2)


ALTERNATING = [
    event for number in range(10) for event in ({"type": "plain", "text": f"shared {number}"}, {"type": "count.up"})
]


@behaviour(("text", "b", "shared 9"), ("text", "a", "a 10"))
async def events_of_both_kinds_keep_their_order(client: Client) -> None:
    """Ten events for all alike and ten that each member counts, alternating, sent by one handler."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            await a.send_json({"events": ALTERNATING})
            await _all_receive([a, b], 20)


@behaviour(("text", "b", "shared 9"), ("text", "a", "a 10"))
async def events_of_both_kinds_keep_their_order_from_a_view(client: Client) -> None:
    """The same, sent by a view, which is no member."""
    for view, kind in zip(("layer", "layer-async"), KINDS, strict=True):
        async with _room(client, kind, "a", "b") as (a, b):
            calls = [["group_send", _group(client, kind), event] for event in ALTERNATING]
            await client.post(f"/{view}/", calls)
            await _all_receive([a, b], 20)


@behaviour(("text", "b", "shared 9"), ("text", "b", "b 10"))
async def events_of_both_kinds_keep_their_order_over_several_messages(client: Client) -> None:
    """The same, sent by twenty messages of one client."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            for event in ALTERNATING:
                await a.send_json(event)
            await _all_receive([a, b], 20)


@behaviour(("text", "a", "nobody reads from a view"), ("text", "b", "b 1"))
async def views_send_events_that_members_render(client: Client) -> None:
    """group_send() from sync and async views to handlers that read their connection."""
    for view, kind in zip(("announce-async", "announce"), KINDS, strict=True):
        async with _room(client, kind, "a", "b") as (a, b):
            await client.post(f"/{view}/{_group(client, kind)}/", {"type": "greet", "text": "from a view"})
            await _all_receive([a, b])
            await client.post(f"/{view}/{_group(client, kind)}/", {"type": "count.up"})
            await _all_receive([a, b])
            await client.post(f"/{view}/nobody-is-here/", {"type": "count.up"})


@behaviour(("text", "b", "b 1"), ("text", "b", "b 2"))
async def the_others_go_on_when_a_member_has_left(client: Client) -> None:
    """After one closed and one vanished, the rest still handles its events."""
    for kind in KINDS:
        path = f"/ws/{kind}/{client.room(kind)}/"
        async with client.sockets(path, "a", "b", "c") as (a, b, c):
            await a.close()
            await b.send_json({"type": "count.up"})
            await _all_receive([b, c])
            c.vanish()
            await b.send_json({"type": "count.up"})
            await b.receive()
            await b.ask({"report": "last"})
            await b.close()


# Size.


@behaviour(("text", "b", "b 150000"))
async def a_large_event_is_handled_by_each_member(client: Client) -> None:
    """An event of 150 kB reaches handlers that read their connection."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            await client.post(f"/announce/{_group(client, kind)}/", {"type": "measured", "text": "x" * 150_000})
            await _all_receive([a, b])
            await a.send_json({"type": "measured", "text": "y" * 50_000})
            await _all_receive([a, b])


@behaviour(("large", "b", 150_000, "x"), ("text", "b", "b 2"))
async def a_large_event_is_passed_on_by_each_member(client: Client) -> None:
    """A member's handler sends 150 kB, and what comes next stands behind it."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            events = [{"type": "passed.on", "text": "x" * 150_000}, {"type": "count.up"}]
            await client.post("/layer/", [["group_send", _group(client, kind), event] for event in events])
            for peer in (a, b):
                await peer.receive_large()
                await peer.receive()


# How connections end.


@behaviour(
    ("closed", "a", 4010, "closing time"),
    ("closed", "b", 4010, "closing time"),
    ("journal", "b", [["disconnect", 4010, 0]]),
)
async def a_handler_closes_every_member(client: Client) -> None:
    """close(code, reason) in a handler that is the same for all; disconnect() is told the code."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/{client.room(kind)}/", f"{kind}-a", f"{kind}-b") as (a, b):
            a.name, b.name = "a", "b"
            await a.send_json({"type": "kick.all"})
            await a.closed()
            await b.closed()
            for name in "ab":
                await _journal(client, f"{kind}-{name}", name)


async def _journal(client: Client, name: str, recorded: str) -> None:
    """The journal of a connection whose name is its kind's too, so that two kinds do not share one."""
    await client.journal(name, until="disconnect")
    client.transcript[-1] = ("journal", recorded, client.transcript[-1][2])


@behaviour(("closed", "b", 4012, "member-b out"), ("journal", "b", [["disconnect", 4012, 1]]))
async def a_handler_closes_each_member_its_own_way(client: Client) -> None:
    """close() with a reason of the connection's own, after a change that disconnect() sees."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/{client.room(kind)}/", f"{kind}-a", f"{kind}-b") as (a, b):
            a.name, b.name = "a", "b"
            await client.post(f"/announce/{_group(client, kind)}/", {"type": "kick.every"})
            await a.closed()
            await b.closed()
            for name in "ab":
                await _journal(client, f"{kind}-{name}", name)


@behaviour(("closed", "b", 4011, "not you"), ("text", "a", "still here"), ("journal", "b", [["disconnect", 4011, 0]]))
async def a_handler_closes_one_member(client: Client) -> None:
    """Who is named is closed, the others go on."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/{client.room(kind)}/", "a", f"{kind}-b", "c") as (a, b, c):
            b.name = "b"
            await a.send_json({"type": "kick", "who": [f"{kind}-b"]})
            await b.closed()
            await _journal(client, f"{kind}-b", "b")
            await a.send_json({"type": "plain", "text": "still here"})
            await _all_receive([a, c])
            for peer in (a, c):
                await peer.ask({"report": "last"})
                await peer.close()


@behaviour(("text", "b", "bye b"), ("closed", "b", 4013, ""), ("closed", "b", 4014, ""), ("closed", "b", 1000, ""))
async def a_handler_sends_and_then_closes(client: Client) -> None:
    """What is sent before close(), or by send(close=True) and send(close=4014), still arrives."""
    farewells = (
        {"type": "farewell", "code": 4013},
        {"type": "send.and.close", "close": True},
        {"type": "send.and.close", "close": 4014},
    )
    for kind in KINDS:
        for event in farewells:
            async with client.sockets(f"/ws/{kind}/{client.room(kind)}/", "a", "b") as (a, b):
                await a.send_json(event)
                await a.closed()
                await b.closed()


@behaviour(
    ("text", "b", "b before"),
    ("closed", "b", 1011, ""),
    ("journal", "b", []),
    ("text", "a", "still here"),
    reference="daphne",
    because=NO_CLOSE_FRAME,
)
async def a_handler_that_fails_for_one_member_ends_that_one(client: Client) -> None:
    """What it sent before arrives, then 1011, without disconnect(); the others go on."""
    # Both at once, as Daphne takes a second to close.
    async with (
        client.sockets(f"/ws/member/{client.room('sync')}/", "a", "b") as (a, b),
        client.sockets(f"/ws/async-member/{client.room('async')}/", "c", "d") as (c, d),
    ):
        for sender, who in ((a, ["b"]), (c, ["d"])):
            await sender.send_json({"type": "some.fail", "who": who})
            await sender.receive()
        for failing in (b, d):
            await failing.closed()
            await client.journal(failing.name, fence=failing is d)
        for peer in (a, c):
            await peer.send_json({"type": "plain", "text": "still here"})
            await peer.receive()
        for peer in (a, c):
            await peer.connection.close()


@behaviour(
    ("text", "b", "before"),
    ("closed", "a", 1011, ""),
    ("closed", "b", 1011, ""),
    ("journal", "b", []),
    reference="daphne",
    because=NO_CLOSE_FRAME,
)
async def a_handler_that_fails_for_all_ends_all(client: Client) -> None:
    """Each member gets what was sent before, and 1011; disconnect() is not called."""
    async with (
        client.sockets(f"/ws/member/{client.room('sync')}/", "a", "b") as (a, b),
        client.sockets(f"/ws/async-member/{client.room('async')}/", "c", "d") as (c, d),
    ):
        await a.send_json({"type": "all.fail"})
        await c.send_json({"type": "some.fail", "who": ["c", "d"]})
        for peer in (a, b, c, d):
            await peer.closed()
            await client.journal(peer.name, fence=peer is d)


@behaviour(("dropped", "b", 1006), ("journal", "b", []), ("text", "a", "still here"))
async def stop_consumer_in_a_group_handler_ends_one_member(client: Client) -> None:
    """StopConsumer in a handler ends that connection, without disconnect()."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/{client.room(kind)}/", "a", "b") as (a, b):
            await a.send_json({"type": "stop", "who": ["b"]})
            await b.closed()
            await client.journal("b", fence=True)
            await a.send_json({"type": "plain", "text": "still here"})
            await a.receive()
            await a.close()


# Groups from inside a handler.


@behaviour(("text", "listener", "news relayed"), ("text", "a", "x"))
async def a_handler_sends_to_another_group(client: Client) -> None:
    """group_send() in a group handler of one member reaches the other group once."""
    for kind in KINDS:
        other = client.room(f"other-{kind}")
        async with client.sockets(f"/ws/{kind}/{other}/", "listener") as (listener,):
            async with _room(client, kind, "a", "b") as (a, b):
                await a.send_json({"type": "relay", "who": ["b"], "to": f"members_{other}", "text": "news"})
                await listener.receive()
                await a.send_json({"type": "plain", "text": "x"})
                await _all_receive([a, b])
            await listener.ask({"report": "last"})
            await listener.close()


@behaviour(("text", "listener", "echo"))
async def every_member_sends_to_another_group(client: Client) -> None:
    """group_send() in a handler that is the same for all happens once for each member."""
    for kind in KINDS:
        other = client.room(f"other-{kind}")
        async with client.sockets(f"/ws/{kind}/{other}/", "listener") as (listener,):
            async with _room(client, kind, "a", "b", "c") as (a, _, _):
                await a.send_json({"type": "relay.all", "to": f"members_{other}", "text": "echo"})
                await listener.receive(3)
            await listener.ask({"report": "last"})
            await listener.close()


@behaviour(("text", "a", "a 0"), ("text", "b", "b 0"))
async def a_handler_sends_to_its_own_group(client: Client) -> None:
    """group_send() to the group whose event is handled, until a count has run down."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            name = await b.ask_name()
            await a.send_json({"type": "countdown", "number": 3, "sender": name})
            await _all_receive([a, b], 4)


@behaviour(("text", "b", "b 1"), ("text", "b", "b hi"))
async def a_handler_sends_to_its_own_channel(client: Client) -> None:
    """channel_layer.send(self.channel_name, …) in a group handler is handled next by each member."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            await a.send_json({"type": "to.myself", "text": "hi"})
            await _all_receive([a, b], 2)


@behaviour(("text", "b", "left"), ("text", "a", "without b"))
async def a_handler_leaves_its_group(client: Client) -> None:
    """group_discard() in a handler: what is sent next does not reach that member."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b", "c") as (a, b, c):
            await a.send_json({"type": "leave", "who": ["b"]})
            await b.receive()
            for event in ({"type": "plain", "text": "without b"}, {"type": "count.up"}):
                await a.send_json(event)
                await _all_receive([a, c])
                await b.ask({"report": "not asked"})


@behaviour(("text", "b", "welcome"), ("text", "b", "b 1"))
async def a_handler_joins_another_group(client: Client) -> None:
    """group_add() in a handler: what is sent to that group next reaches this member only."""
    for kind in KINDS:
        async with _room(client, kind, "a", "b") as (a, b):
            other = client.room(f"joined-{kind}")
            await a.send_json({"type": "join", "who": ["b"], "group": other})
            await b.receive()
            for event in ({"type": "plain", "text": "welcome"}, {"type": "count.up"}):
                await client.post(f"/announce/{other}/", event)
                await b.receive()
