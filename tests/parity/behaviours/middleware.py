"""Middleware around consumers, as projects write it."""

from __future__ import annotations

from ..client import Client
from . import behaviour


@behaviour(("text", "client", "acme one"), ("journal", "client", [["middleware", "acme"]]))
async def middleware_fills_the_scope(client: Client) -> None:
    """What middleware puts into the scope is there at every message, and it runs once per connection."""
    async with client.socket("/ws/behind/tenant/", headers={"X-Tenant": "acme"}) as peer:
        for text in ("one", "two"):
            await peer.send(text)
            await peer.receive()
        await peer.close()
        await client.journal(until="middleware", fence=True)


@behaviour(("text", "client", "HELLO"), ("bytes", "client", b"hello"), ("journal", "client", [["disconnect", 4000]]))
async def middleware_may_wrap_receive_and_send(client: Client) -> None:
    """Middleware that changes what is received and sent does so for every message."""
    async with client.socket("/ws/behind/upper/") as peer:
        await peer.send("  hello ")
        await peer.receive()
        await peer.send(b"hello", " again ")
        await peer.receive(2)
        await peer.close(4000)
        await client.journal(until="disconnect")


@behaviour(("text", "client", '[2, {"TEXTS": ["A", "B"], "LENGTHS": {"1": [1, 2]}}]'))
async def attributes_live_behind_wrapping_middleware(client: Client) -> None:
    """A consumer behind middleware that wraps send keeps its attributes."""
    async with client.socket("/ws/behind/upper-counter/") as peer:
        for text in ("a", "b"):
            await peer.send(text)
            await peer.receive()
        await peer.close()
        await client.journal(until="disconnect")


@behaviour(("text", "a", '{"MESSAGE": "HI"}'), ("text", "b", '{"MESSAGE": "HI"}'))
async def wrapping_middleware_sees_group_messages(client: Client) -> None:
    """What a group handler sends goes through the middleware as well."""
    path = f"/ws/behind/upper-room/{client.room('r')}/"
    async with client.socket(path, "a") as a, client.socket(path, "b") as b:
        await a.send_json({"message": "hi"})
        await a.receive()
        await b.receive()
        await a.close()
        await b.close()


@behaviour(("refused", "client", 403, [], ""), ("journal", "client", [["caught"]]))
async def middleware_may_catch_an_exception_of_connect(client: Client) -> None:
    """Middleware that catches what connect() raises and closes refuses with 403."""
    await client.handshake("/ws/behind/caught/")
    await client.journal(until="caught", fence=True)


@behaviour(("text", "client", "accepted"), ("closed", "client", 4404, ""), ("journal", "client", [["caught"]]))
async def middleware_may_catch_an_exception_after_accept(client: Client) -> None:
    """The same after accept(): the client sees middleware's close code."""
    async with client.socket("/ws/behind/caught-late/") as peer:
        await peer.closed()
        await client.journal(until="caught", fence=True)


@behaviour(("refused", "client", 403, [], ""), ("text", "good", "in"))
async def middleware_may_refuse_by_itself(client: Client) -> None:
    """Middleware that closes without asking the consumer refuses the handshake."""
    await client.handshake("/ws/behind/token/")
    async with client.socket("/ws/behind/token/", "good", headers={"X-Secret": "sesame"}) as peer:
        await peer.send("in")
        await peer.receive()
        await peer.close()
