"""How connections end: by either side, with which code, and what the consumer hears of it."""

from __future__ import annotations

import contextlib

from ..client import Client
from . import behaviour


@behaviour(("closed", "client", 4321, "because"), ("journal", "client", [["disconnect", 4321]]))
async def the_server_closes_with_code_and_reason(client: Client) -> None:
    """close(code, reason) reaches the client, and disconnect() is told the code."""
    for name, path in (("client", "/ws/closer/"), ("async", "/ws/async-closer/")):
        async with client.socket(path, name) as peer:
            await peer.send_json({"code": 4321, "reason": "because"})
            await peer.closed()
            await client.journal(name, until="disconnect", fence=True)


@behaviour(("closed", "client", 1000, ""), ("journal", "client", [["disconnect", 1000]]))
async def the_server_closes_without_a_code(client: Client) -> None:
    """close() means 1000."""
    async with client.socket("/ws/closer/") as peer:
        await peer.send_json({})
        await peer.closed()
        await client.journal(until="disconnect", fence=True)


@behaviour(("closed", "client", 3000, "grüße"))
async def a_reason_may_hold_any_text(client: Client) -> None:
    """A reason beyond ASCII arrives."""
    async with client.socket("/ws/async-closer/") as peer:
        await peer.send_json({"code": 3000, "reason": "grüße"})
        await peer.closed()
        await client.journal(until="disconnect", fence=True)


@behaviour(("text", "client", "last words"), ("closed", "client", 4009, ""))
async def send_may_close_too(client: Client) -> None:
    """send(text, close=4009) sends, then closes."""
    async with client.socket("/ws/send-and-close/") as peer:
        await peer.send("go")
        await peer.closed()
        await client.journal(until="disconnect", fence=True)


@behaviour(("closed", "client", 4999, "see you"), ("journal", "client", [["disconnect", 4999]]))
async def the_client_closes_with_code_and_reason(client: Client) -> None:
    """The client's code reaches disconnect() and is echoed."""
    for name, path in (("client", "/ws/echo/"), ("async", "/ws/async-echo/")):
        async with client.socket(path, name) as peer:
            await peer.close(4999, "see you")
            await client.journal(name, until="disconnect", fence=True)


@behaviour(("journal", "client", [["disconnect", 1001]]))
async def the_client_goes_away(client: Client) -> None:
    """1001, as browsers send it when the page is left."""
    async with client.socket("/ws/echo/") as peer:
        await peer.send("one")
        await peer.receive()
        await peer.close(1001)
        await client.journal(until="disconnect", fence=True)


@behaviour(("journal", "client", [["disconnect", 1005]]))
async def the_client_closes_without_a_code(client: Client) -> None:
    """A close frame without a code is 1005 to disconnect()."""
    async with client.socket("/ws/echo/") as peer:
        await peer.close_without_code()
        await client.journal(until="disconnect", fence=True)


@behaviour(
    ("journal", "client", [["disconnect", 1006, 1, {"texts": ["one"], "lengths": {"3": [1]}}]]),
    reference="daphne",
    because="uvicorn says 1005 for a connection that ends without a close frame, RFC 6455 §7.1.5 says 1006",
)
async def a_client_that_vanishes_is_noticed(client: Client) -> None:
    """A cut connection is 1006 to disconnect(), with the attributes still there."""
    async with client.socket("/ws/counter/") as peer:
        await peer.send("one")
        await peer.receive()
        peer.vanish()
        await client.journal(until="disconnect", fence=True)


@behaviour(
    ("closed", "client", 1000, ""), ("journal", "client", [["got", "one"], ["got", "two"], ["disconnect", 1000]])
)
async def messages_right_before_the_close_are_received(client: Client) -> None:
    """What a client says just before it closes is received before disconnect() is called."""
    async with client.socket("/ws/listener/") as peer:
        await peer.send("one", "two")
        await peer.close()
        await client.journal(until="disconnect", fence=True)


@behaviour(("closed", "client", 4005, ""))
async def what_is_sent_after_close_is_not_seen(client: Client) -> None:
    """send() after close() does not reach the client. (Whether it raises an error is the server's affair.)"""
    async with client.socket("/ws/send-after-close/") as peer:
        await peer.send("go")
        await peer.closed()


@behaviour(("journal", "client-3", [["disconnect", 1000]]))
async def every_connection_is_disconnected_once(client: Client) -> None:
    """Five connections that close together are each told once."""
    names = [f"client-{number}" for number in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(client.socket("/ws/echo/", name)) for name in names]
        for peer in peers:
            await peer.close()
    for name in names:
        await client.journal(name, until="disconnect", fence=name == names[-1])
