"""Exceptions in consumers, and what becomes of the connection."""

from __future__ import annotations

import pytest

from ..client import Client, ScriptStoppedError
from . import behaviour

#: Daphne is the reference wherever a handler fails after the handshake.
NO_CLOSE_FRAME = "uvicorn cuts the connection without a close frame when the application fails, Daphne closes with 1011"


@behaviour(
    ("text", "client", "before"),
    ("closed", "client", 1011, ""),
    ("journal", "client", []),
    reference="daphne",
    because=NO_CLOSE_FRAME,
)
async def an_exception_in_receive_closes_with_1011(client: Client) -> None:
    """What was sent before arrives, the connection ends with 1011, and disconnect() is not called."""
    for name, path in (("client", "/ws/failing/"), ("async", "/ws/async-failing/")):
        async with client.socket(path, name) as peer:
            await peer.send("go")
            await peer.closed()
            await client.journal(name, fence=True)


@behaviour(("refused", "client", 500, [], "Internal Server Error"), ("journal", "client", []))
async def an_exception_in_connect_refuses_with_500(client: Client) -> None:
    """The handshake is refused with 500, and disconnect() is not called."""
    await client.handshake("/ws/failing-connect/")
    await client.journal(fence=True)


@behaviour(
    ("text", "client", "accepted"),
    ("closed", "client", 1011, ""),
    ("journal", "client", []),
    reference="daphne",
    because=NO_CLOSE_FRAME,
)
async def an_exception_after_accept_closes_with_1011(client: Client) -> None:
    """connect() that fails after accept(): accepted, then closed."""
    async with client.socket("/ws/failing-after-accept/") as peer:
        await peer.closed()
        await client.journal(fence=True)


@behaviour(("refused", "client", 500, [], "Internal Server Error"))
async def sending_before_accept_is_an_error(client: Client) -> None:
    """send() before accept() is an error in the consumer, so the handshake is refused with 500."""
    await client.handshake("/ws/send-before-accept/")


@behaviour(("closed", "client", 1011, ""), ("journal", "client", []), reference="daphne", because=NO_CLOSE_FRAME)
async def bad_json_closes_with_1011(client: Client) -> None:
    """Text that is no JSON, empty text and binary frames are errors of JSON consumers."""
    for path in ("/ws/json/", "/ws/async-json/"):
        for bad in ("{", "", b"{}"):
            async with client.socket(path) as peer:
                await peer.send(bad)
                await peer.closed()
                await client.journal(fence=bad == "{")


@behaviour(("closed", "client", 1011, ""), ("journal", "client", []), reference="daphne", because=NO_CLOSE_FRAME)
async def an_event_without_a_handler_closes_with_1011(client: Client) -> None:
    """An event whose type names no method, or a private one, is an error of the member."""
    for event_type in ("no.such.handler", "_private", ".private"):
        async with client.socket("/ws/missing-handler/") as peer:
            await peer.send(event_type)
            await peer.closed()
            await client.journal(fence=event_type == "_private")


@behaviour(("closed", "client", 1000, ""), ("journal", "client", [["disconnect", 1000]]))
async def an_exception_in_disconnect_is_not_seen(client: Client) -> None:
    """The client has closed; it cannot tell, and the server goes on."""
    async with client.socket("/ws/failing-disconnect/") as peer:
        await peer.send("one")
        await peer.receive()
        await peer.close()
        await client.journal(until="disconnect")
    async with client.socket("/ws/failing-disconnect/", "next") as peer:
        await peer.send("two")
        await peer.receive()
        await peer.close()


@behaviour(("text", "client", "stopping"), ("journal", "client", []))
async def stop_consumer_ends_the_connection(client: Client) -> None:
    """StopConsumer in receive() ends the connection, and disconnect() is not called."""
    async with client.socket("/ws/stopper/") as peer:
        await peer.send("go")
        await peer.closed()
        await client.journal(fence=True)


@behaviour(("text", "good", "still here"))
async def an_exception_ends_one_connection_only(client: Client) -> None:
    """Other connections of the same server are not disturbed."""
    async with client.socket("/ws/echo/", "good") as good:
        async with client.socket("/ws/failing/", "bad") as bad:
            await bad.send("go")
            with pytest.raises(ScriptStoppedError):
                await bad.receive(2)
            client.transcript.pop()  # how it ends is another script's claim
        await good.send("still here")
        await good.receive()
        await good.close()
