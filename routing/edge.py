"""What stands between an ASGI server and the dispatcher: reads a batch, writes its answer, refuses direct WebSockets.

`ProtocolTypeRouter` does this for a project that a proxy serves; `behind_proxy` for one that is served directly, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from grip_consumers import conf
from grip_consumers.advice import DIRECT_WEBSOCKET
from grip_consumers.dispatcher import Dispatcher
from grip_consumers.handshake import UNROUTED, from_asgi, is_batch_scope
from grip_consumers.protocol import Response
from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["answer_batch", "behind_proxy", "refuse_direct_websocket"]


def behind_proxy(application: ASGIApplication) -> ASGIApplication:
    """An ASGI application that answers batches with the consumers of `application`, and hands all else on to it.

    For a project whose router is that of Channels, which serves WebSockets of its own beside those of a proxy:
    `application = behind_proxy(ProtocolTypeRouter(…))`. GripMiddleware does without, at the cost of what Django spends
    on any request.
    """
    dispatcher = Dispatcher(lambda: application)

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_batch_scope(scope):
            await answer_batch(dispatcher, scope, receive, send, application)
        else:
            await application(scope, receive, send)

    return edge


async def answer_batch(
    dispatcher: Dispatcher, scope: Scope, receive: Receive, send: Send, fallback: ASGIApplication | None
) -> None:
    """Answer an `http` scope that carries a batch; one that no route matches goes to `fallback` if there is one."""
    body = await _read_body(receive, conf.get().batch_max_size)
    if body is None:
        return
    response = await dispatcher.handle(from_asgi(scope, body))
    if response is None and fallback is not None:
        await fallback({**scope, UNROUTED: True}, _replay(body, receive), send)
        return
    await _write(response or Response(404, [("Content-Type", "text/plain")], b"No route found.\n"), send)


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """The request's body; None if the proxy went away. Reading stops beyond `limit`, which decoding refuses."""
    chunks: list[bytes] = []
    size = 0
    while size <= limit:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if not message.get("more_body"):
            break
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


async def _write(response: Response, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def refuse_direct_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket that a client opened to this server itself, telling what to do."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1000, "reason": "connect to the GRIP proxy"})
        return
    await send(
        {
            "type": "websocket.http.response.start",
            "status": 501,
            "headers": [(b"content-type", b"text/plain; charset=utf-8")],
        }
    )
    await send({"type": "websocket.http.response.body", "body": DIRECT_WEBSOCKET.encode()})
