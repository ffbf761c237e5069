"""Joining and leaving, and what is sent to the group the moment after: by the connection itself and by others."""

from __future__ import annotations

import asyncio

from ..client import Client, Peer
from . import behaviour

KINDS = ("postman", "sync-postman")
EVENTS = ({"type": "notice", "text": "for all alike"}, {"type": "letter", "text": "for each"})


@behaviour(("text", "b", "at once"), ("text", "b", "b 1"))
async def who_connects_gets_what_is_sent_at_once(client: Client) -> None:
    """A message that a view sends the moment the handshake is done reaches the new member."""
    for kind in ("member", "async-member"):
        room = client.room(kind)
        for event in ({"type": "plain", "text": "at once"}, {"type": "count.up"}):
            async with client.sockets(f"/ws/{kind}/{room}/", "b") as (b,):
                await client.post(f"/announce/members_{room}/", event)
                await b.receive()
                await b.ask({"report": "last"})
                await b.close()


@behaviour(("text", "b", "said at once"), ("text", "a", "a 1"))
async def who_connects_gets_what_a_member_says_at_once(client: Client) -> None:
    """The same, sent by another member."""
    for kind in ("member", "async-member"):
        path = f"/ws/{kind}/{client.room(kind)}/"
        for event in ({"type": "plain", "text": "said at once"}, {"type": "count.up"}):
            async with client.sockets(path, "a") as (a,), client.sockets(path, "b") as (b,):
                await a.send_json(event)
                for peer in (a, b):
                    await peer.receive()
                for peer in (a, b):
                    await peer.ask({"report": "last"})
                    await peer.close()


@behaviour(("text", "b", '["notice", "for all alike"]'), ("text", "b", '["b", 1, "for each"]'))
async def who_joins_in_receive_gets_what_is_sent_at_once(client: Client) -> None:
    """Joined in receive(), told so, and at once somebody else sends to the group."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            for number, event in enumerate(EVENTS):
                group = client.room(f"{kind}-{number}")
                await b.ask(["join", group])
                await a.ask(["calls", ["group_send", group, event]])
                await b.receive()
            for peer in (a, b):
                await peer.ask(["report", "last"])
                await peer.close()


@behaviour(
    ("text", "b", '"b before accept"'),
    ("text", "b", '["b", 1, "b after accept"]'),
    ("text", "a", '["a", 2, "b after accept"]'),
    ("text", "a", '["a", 3, "one"]'),
    ("text", "a", '"back again"'),
)
async def a_joiner_sends_to_its_group_right_behind(client: Client) -> None:
    """group_add() and group_send() in one handler, in connect() and in receive(), with leaving in between."""
    path = f"/ws/hasty/{client.room('h')}/"
    async with client.sockets(path, "a") as (a,):
        await a.receive(2)
        async with client.sockets(path, "b") as (b,):
            await b.receive(2)
            await a.receive(2)
            await a.send_json([client.room("other"), "one", "two"])
            await a.receive(4)
            await b.close()
        await client.post(f"/announce/{client.room('other')}/", {"type": "shared.word", "text": "the end"})
        await a.receive()
        await a.close()


@behaviour(("text", "b", '["notice", "for all alike"]'), ("text", "b", '["b", 1, "for each"]'))
async def a_view_adds_a_connection_and_sends_at_once(client: Client) -> None:
    """group_add() with a stored name and group_send() right behind it, in one view."""
    for view, kind in zip(("layer", "layer-async"), KINDS, strict=True):
        async with client.sockets(f"/ws/{kind}/", "b", "stranger") as (b, stranger):
            name, group = await b.ask_name(), client.room(kind)
            calls = [["group_add", group, name], *(["group_send", group, event] for event in EVENTS)]
            await client.post(f"/{view}/", calls)
            await b.receive(2)
            await client.post(f"/{view}/", calls[1:])
            await b.receive(2)
            for peer in (b, stranger):
                await peer.ask(["report", "last"])
                await peer.close()


@behaviour(("text", "b", '["notice", "for all alike"]'), ("text", "b", '["b", 1, "for each"]'))
async def a_consumer_adds_another_connection_and_sends_at_once(client: Client) -> None:
    """group_add() with the name of another connection, by a member and by a stranger, with group_send() behind it."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            name = await b.ask_name()
            for joins in (False, True):
                group = client.room(f"{kind}-{joins}")
                if joins:
                    await a.ask(["join", group])
                sends = [["group_send", group, event] for event in EVENTS]
                await a.ask(["calls", ["group_add", group, name], *sends])
                await b.receive(2)
                if joins:
                    await a.receive(2)
            for peer in (a, b):
                await peer.ask(["report", "last"])
                await peer.close()


@behaviour(("text", "a", '["a", 1, "for each"]'), ("text", "b", '["last", "b", 0, []]'))
async def a_view_removes_a_connection_and_sends_at_once(client: Client) -> None:
    """group_discard() with a stored name: what is sent right behind it does not arrive there."""
    for view, kind in zip(("layer", "layer-async"), KINDS, strict=True):
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            group = client.room(kind)
            for peer in (a, b):
                await peer.ask(["join", group])
            calls = [["group_discard", group, await b.ask_name()], *(["group_send", group, event] for event in EVENTS)]
            await client.post(f"/{view}/", calls)
            await a.receive(2)
            if kind == KINDS[0]:
                await client.silence(b)
            await client.post(f"/{view}/", calls[1:])
            await a.receive(2)
            for peer in (a, b):
                await peer.ask(["report", "last"])
                await peer.close()


@behaviour(("text", "a", '["a", 1, "for each"]'), ("text", "b", '["last", "b", 0, []]'))
async def a_consumer_removes_another_connection_and_sends_at_once(client: Client) -> None:
    """The same by another member."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            group = client.room(kind)
            for peer in (a, b):
                await peer.ask(["join", group])
            calls = [["group_discard", group, await b.ask_name()], *(["group_send", group, event] for event in EVENTS)]
            await a.ask(["calls", *calls])
            await a.receive(2)
            if kind == KINDS[0]:
                await client.silence(b)
            for peer in (a, b):
                await peer.ask(["report", "last"])
                await peer.close()


@behaviour(("text", "b", '["notice", "third"]'), ("text", "b", '["last", "b", 0, []]'))
async def a_connection_is_added_and_removed_from_outside(client: Client) -> None:
    """Added, removed and added again by a view, with something sent after each step."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "b") as (b,):
            name, group = await b.ask_name(), client.room(kind)
            calls = []
            for method, text in (("group_add", "first"), ("group_discard", "second"), ("group_add", "third")):
                calls.append([method, group, name])
                calls.append(["group_send", group, {"type": "notice", "text": text}])
            await client.post("/layer/", calls)
            await b.receive(2)
            await b.ask(["report", "last"])
            await b.close()


@behaviour(("text", "b", '["notice", "left it"]'), ("text", "b", '["last", "b", 0, []]'))
async def who_was_added_from_outside_may_leave_by_itself(client: Client) -> None:
    """A membership is one, whoever made it."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "b") as (b,):
            name, group = await b.ask_name(), client.room(kind)
            await client.post("/layer/", [["group_add", group, name]])
            await b.ask(["calls", ["group_discard", group, name]])
            await client.post("/layer/", [["group_send", group, EVENTS[0]]])
            await client.post("/layer/", [["send", name, {"type": "notice", "text": "left it"}]])
            await b.receive()
            await b.ask(["report", "last"])
            await b.close()


@behaviour(("text", "b", '["notice", "once"]'), ("text", "b", '["last", "b", 0, []]'))
async def who_joins_twice_gets_one_copy(client: Client) -> None:
    """Joined by itself and added from outside, in both orders."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "b") as (b,):
            name = await b.ask_name()
            for first in ("itself", "view"):
                group = client.room(f"{kind}-{first}")
                if first == "itself":
                    await b.ask(["join", group])
                await client.post("/layer/", [["group_add", group, name], ["group_add", group, name]])
                if first == "view":
                    await b.ask(["join", group])
                await client.post("/layer/", [["group_send", group, {"type": "notice", "text": "once"}]])
                await b.receive()
            await b.ask(["report", "last"])
            await b.close()


#: The last number that is spoken.
LAST = 24


@behaviour(("complete", "member", True, []), ("complete", "async-member", True, []))
async def many_join_while_somebody_speaks(client: Client) -> None:
    """Eight connections join while numbers are sent: from its first number on, each one gets every number once."""
    for kind in ("member", "async-member"):
        room = client.room(kind)
        async with client.sockets(f"/ws/{kind}/{room}/", "speaker") as (speaker,):
            listeners = [Client(client.url) for _ in range(8)]
            try:
                speaking = asyncio.ensure_future(_speak(speaker, LAST + 1))
                heard = await asyncio.gather(
                    *(
                        _listen(listener, f"/ws/{kind}/{room}/", LAST, number)
                        for number, listener in enumerate(listeners)
                    )
                )
                await speaking
            finally:
                for listener in listeners:
                    await listener.close()
        gaps = [numbers for numbers in heard if numbers != list(range(numbers[0], LAST + 1))]
        client.record("complete", kind, not gaps, gaps)


async def _speak(speaker: Peer, count: int) -> None:
    for number in range(count):
        await speaker.send_json({"type": "plain", "text": str(number)})
        await asyncio.sleep(0.01)
    for _ in range(count):
        await speaker.unrecorded()


async def _listen(listener: Client, path: str, last: int, number: int) -> list[int]:
    await asyncio.sleep(number * 0.02)
    async with listener.socket(path, "listener") as peer:
        numbers = [int(await peer.unrecorded())]
        while numbers[-1] < last:
            numbers.append(int(await peer.unrecorded()))
        return numbers
