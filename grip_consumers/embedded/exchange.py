"""One HTTP request on its way to the application, and its response on the way back.

What is not for the proxy passes through as it comes. A response that asks the proxy for something is kept back whole.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .backend import Message, Receive, Send
from .connection import Response
from .instruct import is_instructed, without_grip

__all__ = ["Answering", "ClientSide"]

_DISCONNECT: Message = {"type": "http.disconnect"}


class ClientSide:
    """What a client sends. Several may wait for it at once, and the body is kept for a repetition.

    Args:
        receive: the server's.
        limit: bytes of the body that are kept; a longer one is not.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._pending: asyncio.Future[Message] | None = None
        self._left = False
        #: The body as far as it was received, or None if it is too long.
        self.body: bytes | None = b""
        self.complete = False

    async def next(self, over: asyncio.Future[None] | None = None) -> Message:
        """Return the next message, or `http.disconnect` as soon as `over` is done."""
        if self._left or (over is not None and over.done()):
            return _DISCONNECT
        if self._pending is None:
            self._pending = asyncio.ensure_future(_message(self._receive))
            self._pending.add_done_callback(self._take)
        pending = self._pending
        # Waiting so does not cancel what others wait for too.
        waited: set[asyncio.Future[Any]] = {pending} if over is None else {pending, over}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        failed = not pending.done() or pending.cancelled() or pending.exception() is not None
        return _DISCONNECT if failed else pending.result()

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self.next())["type"] != "http.disconnect":
            pass

    def close(self) -> None:
        """Receive nothing more."""
        if self._pending is not None:
            self._pending.cancel()

    def _take(self, received: asyncio.Future[Message]) -> None:
        self._pending = None
        if received.cancelled() or received.exception() is not None:
            self._left = True
            return
        message = received.result()
        if message["type"] != "http.request":
            self._left = True
            return
        self.complete = not message.get("more_body", False)
        if self.body is not None:
            self.body += message.get("body", b"")
            if len(self.body) > self._limit:
                self.body = None


async def _message(receive: Receive) -> Message:
    return await receive()


class Answering:
    """The receive and send of one call of the application.

    Args:
        client: what the client sends.
        send: the server's.
        limit: bytes of a response that is kept back.
        body: what the application gets as the request's body instead of what the client sends.
    """

    def __init__(self, client: ClientSide, send: Send, limit: int, body: bytes | None = None) -> None:
        self._client = client
        self._send = send
        self._limit = limit
        self._body = body
        self._response: Response | None = None
        #: Done when a response that asks for something is complete.
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Whether anything has gone to the client.
        self.begun = False
        self._failure = ""

    async def receive(self) -> Message:
        """The application's receive."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._client.next(self.over)

    async def send(self, message: Message) -> None:
        """The application's send."""
        if self.over.done():
            return
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            if is_instructed(headers):
                self._response = Response(int(message["status"]), headers, b"")
                return
            message = {**message, "headers": without_grip(headers)}
        if self._response is None:
            self.begun = True
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._keep(self._response, message)

    def response(self) -> Response:
        """Return the response that was kept back. Raises ValueError if it is too long."""
        if self._response is None or self._failure:
            raise ValueError(self._failure)
        return self._response

    def _keep(self, response: Response, message: Message) -> None:
        body = response.body + bytes(message.get("body", b""))
        self._response = Response(response.status, response.headers, body)
        if len(body) > self._limit:
            self._failure = f"expected a response of at most {self._limit} bytes"
        if self._failure or not message.get("more_body", False):
            self.over.set_result(None)
