"""Messages to one connection by its channel name: from consumers, from views, to itself."""

from __future__ import annotations

from typing import Any

from ..client import Client
from . import behaviour
from .errors import NO_CLOSE_FRAME

KINDS = ("postman", "sync-postman")


def _send(name: str, event_type: str, text: str = "", **more: Any) -> list[Any]:
    return ["send", name, {"type": event_type, "text": text, **more}]


def _letter(name: str, text: str) -> list[Any]:
    return _send(name, "letter", text)


@behaviour(("text", "b", '["b", 2, "from b itself"]'), ("text", "a", '["last", "a", 0, []]'))
async def a_consumer_sends_to_a_channel_name(client: Client) -> None:
    """One consumer reaches another by its name, and itself; the others hear nothing; what it changes stays."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            name = await b.ask_name()
            await a.ask(["calls", _letter(name, "from a")])
            await b.receive()
            await b.send_json(["calls", _letter(name, "from b itself")])
            await b.receive(2)
            for peer in (a, b):
                await peer.ask(["report", "last"])
                await peer.close()


@behaviour(("text", "b", '["b", 1, "from a view"]'), ("http", 200, {"done": True}))
async def a_view_sends_to_a_stored_channel_name(client: Client) -> None:
    """Sync and async views reach a connection by its name."""
    for view, kind in zip(("layer", "layer-async"), KINDS, strict=True):
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            name = await b.ask_name()
            for text in ("from a view", "once more"):
                await client.post(f"/{view}/", [_letter(name, text)])
                await b.receive()
            await a.ask(["report", "last"])
            await a.close()
            await b.close()


@behaviour(("text", "early", '["early", 1, "before accept"]'), ("text", "early", '["early", 2, "after accept"]'))
async def a_consumer_sends_to_itself_in_connect(client: Client) -> None:
    """Events that connect() sends to its own name, before and after accept(), are handled after it."""
    async with client.sockets("/ws/postman/", "early") as (early,):
        await early.receive(3)
        await early.ask(["report", "last"])
        await early.close()


@behaviour(("text", "a", '"done"'), ("http", 200, {"done": True}))
async def a_channel_name_that_is_gone_is_no_error(client: Client) -> None:
    """Sending to a connection that closed, and to a name that never was, does nothing."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", f"{kind}-b") as (a, b):
            name = await b.ask_name()
            await b.close()
            await client.journal(b.name, until="disconnect", fence=True)
            await a.ask(["calls", _letter(name, "lost"), _letter(name[:-4] + "aaaa", "lost too")])
            await client.post("/layer/", [_letter(name, "lost")])
            await a.ask(["report", "last"])
            await a.close()


@behaviour(("text", "b", '["b", 10, "number 9"]'))
async def direct_messages_keep_their_order(client: Client) -> None:
    """Ten messages to one connection, sent by one handler, by one view, by ten messages of one client."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            name = await b.ask_name()
            calls = [_letter(name, f"number {number}") for number in range(10)]
            await a.ask(["calls", *calls])
            await b.receive(10)
            await client.post("/layer/", calls)
            await b.receive(10)
            for call in calls:
                await a.send_json(["calls", call])
            await b.receive(10)
            await a.receive(10)
            await b.ask(["report", "last"])
            await a.close()
            await b.close()


@behaviour(("text", "b", '["b", 3, "letter 2"]'), ("text", "b", '["notice", "notice 2"]'))
async def direct_messages_and_group_events_keep_their_order(client: Client) -> None:
    """Letters and group events of one sender, alternating, arrive as they were sent."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            group, name = client.room(kind), await b.ask_name()
            await b.ask(["join", group])
            calls = []
            for number in range(3):
                calls.append(_letter(name, f"letter {number}"))
                calls.append(["group_send", group, {"type": "notice", "text": f"notice {number}"}])
            await a.ask(["calls", *calls])
            await b.receive(6)
            await client.post("/layer/", calls)
            await b.receive(6)
            await a.close()
            await b.close()


@behaviour(("text", "a", '["a", 1, "b answers"]'))
async def a_message_may_be_answered_by_name(client: Client) -> None:
    """A handler answers to the name that the message brought."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            mine, other = await a.ask_name(), await b.ask_name()
            await a.send_json(["calls", _send(other, "question", reply_to=mine)])
            await a.receive(2)
            for peer in (a, b):
                await peer.ask(["report", "last"])
                await peer.close()


@behaviour(
    ("text", "b", '"b must go"'),
    ("closed", "b", 4020, "expelled"),
    ("text", "a", '["last", "a", 0, []]'),
    ("journal", "b", [["disconnect", 4020, 0], ["disconnect", 4020, 0]]),
)
async def a_direct_message_may_close(client: Client) -> None:
    """A handler of a direct message sends, and closes its connection; disconnect() is told the code."""
    for number, kind in enumerate(KINDS):
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            name = await b.ask_name()
            if number:
                await a.ask(["calls", _send(name, "expel")])
            else:
                await client.post("/layer/", [_send(name, "expel")])
            await b.closed()
            await a.ask(["report", "last"])
            await a.close()
            await client.journal("b", until="disconnect", fence=True)


@behaviour(("text", "b", '"b must go"'), ("closed", "b", 4020, "expelled"), ("journal", "b", [["disconnect", 4020, 0]]))
async def what_was_sent_behind_a_close_is_not_handled(client: Client) -> None:
    """Messages that wait behind one whose handler closes reach no handler: disconnect() comes first."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            name = await b.ask_name()
            await a.ask(["calls", _send(name, "expel"), *[_send(name, "silent.letter")] * 3, _letter(name, "too late")])
            await b.closed()
            await client.journal("b", until="disconnect", fence=True)
            await a.close()


@behaviour(
    ("closed", "b", 1011, ""),
    ("journal", "b", []),
    ("text", "a", '["last", "a", 0, []]'),
    reference="daphne",
    because=NO_CLOSE_FRAME,
)
async def a_direct_message_that_fails_ends_its_receiver(client: Client) -> None:
    """A handler that raises, and a type that nothing handles, close the addressed connection with 1011."""
    # All at once, as Daphne takes a second to close.
    async with (
        client.sockets("/ws/postman/", "a", "b", "c") as (a, b, c),
        client.sockets("/ws/sync-postman/", "d") as (d,),
    ):
        for peer, event_type in ((b, "raising"), (c, "no.such.handler"), (d, "_private")):
            await a.ask(["calls", _send(await peer.ask_name(), event_type)])
        for peer in (b, c, d):
            await peer.closed()
            await client.journal(peer.name, fence=peer is d)
        await a.ask(["report", "last"])
        await a.connection.close()


@behaviour(("text", "b", '["asked", "b", 3, []]'))
async def a_silent_direct_message_changes_attributes(client: Client) -> None:
    """What a handler changes without sending anything is there at the next message of the client."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            name = await b.ask_name()
            await a.ask(["calls", *[_send(name, "silent.letter")] * 3])
            # The client's message could overtake, on Channels too: first something is awaited that stands behind.
            await a.ask(["calls", _send(name, "notice", "behind")])
            await b.receive()
            await b.ask(["report", "asked"])
            await a.close()
            await b.close()


@behaviour(("text", "b", '["b", 1, "last words of a"]'))
async def a_letter_may_be_sent_at_disconnect(client: Client) -> None:
    """channel_layer.send() in disconnect() reaches the other connection."""
    async with client.sockets("/ws/postman/", "a", "b") as (a, b):
        name = await b.ask_name()
        await a.ask(["at disconnect", _letter(name, "last words of a")])
        await a.close()
        await b.receive()
        await b.close()


@behaviour(("large", "b", 150_000 + len('["b", 1, ""]'), ' ",1[]bx'), ("text", "b", '["b", 2, "small"]'))
async def a_direct_message_may_be_large(client: Client) -> None:
    """150 kB to one connection, and something small behind it."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "b") as (b,):
            name = await b.ask_name()
            await client.post("/layer/", [_letter(name, "x" * 150_000), _letter(name, "small")])
            await b.receive_large()
            await b.receive()
            await b.close()


@behaviour(("text", "b", '["B", 1, "HELLO"]'))
async def middleware_that_wraps_send_sees_direct_messages(client: Client) -> None:
    """What the handler of a direct message sends passes the middleware."""
    async with client.sockets("/ws/postman/", "a") as (a,), client.sockets("/ws/behind/upper-postman/", "b") as (b,):
        await b.send_json(["introduce", await a.ask_name()])
        name = await a.unrecorded()
        for text in ("hello", "again"):
            await a.ask(["calls", _letter(name, text)])
            await b.receive()
        await a.close()
        await b.close()


@behaviour(("text", "b", '["b", 1, {"none": null, "nested": [1, 2.5, true, {"deep": "\\u00e9"}]}]'))
async def a_message_may_hold_nested_values(client: Client) -> None:
    """What JSON can say comes through as it was."""
    for kind in KINDS:
        async with client.sockets(f"/ws/{kind}/", "a", "b") as (a, b):
            value = {"none": None, "nested": [1, 2.5, True, {"deep": "é"}]}
            await a.ask(["calls", ["send", await b.ask_name(), {"type": "parcel", "value": value}]])
            await b.receive()
            await a.close()
            await b.close()


@behaviour(("text", "client", "stopped"))
async def who_always_sends_to_itself_hears_its_client(client: Client) -> None:
    """A handler that sends to its own connection to go on later leaves room for the handshake and the client."""
    for path in ("/ws/looper/", f"/ws/group-looper/{client.run}/"):
        async with client.socket(path) as peer:
            await peer.send("stop")
            await peer.receive()
            await peer.close()
