"""The HTTP consumer (`channels.generic.http`), whose response a proxy goes on to hold.

A consumer that has joined a group and leaves its response open, by `send_body(…, more_body=True)`, returns from
`handle()`, and the proxy holds the response. What its group handlers send from then on is published to all who are held
like this, so that the handlers run once for them all: they can send body, and cannot see anything of one client.

    class Ticker(AsyncHttpConsumer):
        async def handle(self, body):
            await self.channel_layer.group_add("ticks", self.channel_name)
            await self.send_headers(headers=[(b"Content-Type", b"text/plain")])
            await self.send_body(b"", more_body=True)

        async def tick(self, event):
            await self.send_body(event["line"].encode(), more_body=True)

In every other case it is served by the process that has the request, as on Channels.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http.cookies import Morsel
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse

from grip_consumers import streams
from grip_consumers.consumer import AsyncConsumer
from grip_consumers.db import aclose_old_connections
from grip_consumers.delivery import delivery
from grip_consumers.exceptions import StopConsumer
from grip_consumers.handshake import environ_headers, environ_parts
from grip_consumers.inbox import off_loop
from grip_consumers.layers import GripChannelLayer, get_channel_layer
from grip_consumers.mail import Outcome
from grip_consumers.protocol import Response, StreamChunk, StreamClose
from grip_consumers.protocol.headers import check_token, check_value
from grip_consumers.protocol.items import Message as Format
from grip_consumers.registry import register_stream
from grip_consumers.standin import Attempt, make_stand_in, run_once
from grip_consumers.streams import Backlog, Entry, Membership, Written
from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send
from grip_consumers.utils import await_many_dispatch

from .held import Held

__all__ = ["AsyncHttpConsumer"]

logger = logging.getLogger("grip_consumers.streams")

Headers = Iterable[tuple[bytes, bytes]] | Mapping[bytes, bytes]


class AsyncHttpConsumer(AsyncConsumer):
    """A consumer of one HTTP request: override `handle`, and send the response from it.

    Under an ASGI server route `as_asgi()` to it, in the "http" of a ProtocolTypeRouter; in a URLconf, under WSGI or
    ASGI, `as_view()`.
    """

    #: Seconds for which an event of a group can be caught up with.
    expiry: float = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.body: list[bytes] = []

    async def send_headers(self, *, status: int = 200, headers: Headers | None = None) -> None:
        """Set the status and the headers, pairs or a mapping, of bytes. They go out with the first body."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
        await self.send({"type": "http.response.start", "status": status, "headers": pairs or []})

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """Send a piece of the body; the last one unless there is `more_body`. Raises AssertionError for other types."""
        if not isinstance(body, bytes):
            raise AssertionError("Body is not bytes")
        await self.send({"type": "http.response.body", "body": body, "more_body": more_body})

    async def send_response(self, status: int, body: bytes, **kwargs: Any) -> None:
        """Send a whole response; the keyword `headers` is as in `send_headers`."""
        await self.send_headers(status=status, **kwargs)
        await self.send_body(body)

    async def handle(self, body: bytes) -> None:
        """Handle the request, whose body has been received. For subclasses."""
        raise NotImplementedError("Subclasses of AsyncHttpConsumer must provide a handle() method.")

    async def disconnect(self) -> None:
        """Take note of the end of the request. Not called for a response that a proxy holds: nobody is there."""

    async def http_request(self, message: Message) -> None:
        """Handle `http.request`: collect the body and call `handle` with all of it."""
        if "body" in message:
            self.body.append(message["body"])
        if message.get("more_body"):
            return
        held = False
        try:
            await self.handle(b"".join(self.body))
            held = self._grip_held()
        finally:
            if not held:
                await self.disconnect()
        raise StopConsumer

    async def http_disconnect(self, message: Message) -> None:
        """Handle `http.disconnect`: the client is gone."""
        await self.disconnect()
        await aclose_old_connections()
        raise StopConsumer

    # Serving ----------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (the ASGI entry)."""
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        if scope["type"] != "http" or not isinstance(self.channel_layer, GripChannelLayer):
            # Without a layer, or with one whose groups reach processes, as on Channels.
            await super().__call__(scope, receive, send)
            return
        signature, last = _grip_headers(scope)
        query = scope.get("query_string", b"").decode("latin-1")
        if streams.LINK in query and (found := await off_loop(streams.follow, query, signature, last)) is not None:
            await _send_whole(found, send)
            return
        self.scope = scope
        self.channel_name = await self.channel_layer.new_channel()
        answer = self._grip_answer = _Answer(type(self), self.channel_name, signature, send)
        self.base_send = answer.take
        token = streams.current_membership.set(answer.membership)
        try:
            with suppress(StopConsumer):
                await await_many_dispatch([receive], self.dispatch)
        finally:
            streams.current_membership.reset(token)
        if answer.held:
            await answer.hold()

    #: Of a consumer that is served without our channel layer there is none.
    _grip_answer: _Answer | None = None

    def _grip_held(self) -> bool:
        return self._grip_answer is not None and self._grip_answer.held

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ASGIApplication:
        """An ASGI application that makes an instance with `initkwargs` for each request."""
        register_stream(cls)

        async def app(scope: Scope, receive: Receive, send: Send) -> Any:
            return await cls(**initkwargs)(scope, receive, send)

        app.consumer_class = cls  # type: ignore[attr-defined]
        app.consumer_initkwargs = initkwargs  # type: ignore[attr-defined]
        app.__name__, app.__qualname__, app.__module__ = cls.__name__, cls.__qualname__, cls.__module__
        app.__doc__ = cls.__doc__
        return app

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponse]:
        """A Django view that answers by an instance with `initkwargs`, for a URLconf.

        A response that is not held is sent when it is complete. The scope has `user` and `session` of the request.
        """
        app = cls.as_asgi(**initkwargs)

        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            messages: list[Message] = async_to_sync(_run)(app, _scope(request, args, kwargs), request.body)
            return _as_response(messages)

        view.__name__, view.__qualname__, view.__module__ = cls.__name__, cls.__qualname__, cls.__module__
        view.__doc__, view.view_class = cls.__doc__, cls  # type: ignore[attr-defined]
        return view

    # Group events -----------------------------------------------------------------------------------------------

    @classmethod
    def grip_handles(cls, handler: str) -> bool:
        """Whether the class has a handler of this name: nothing that such a consumer has anyway."""
        return handler not in _NO_HANDLERS and callable(getattr(cls, handler, None))

    @classmethod
    async def grip_render(cls, handler: str, event: Message) -> list[Entry]:
        """Run the handler on a stand-in for any client; what goes wrong is logged, and nothing sent."""
        name = f"{cls.__module__}.{cls.__qualname__}.{handler}"
        attempt, sent = Attempt(), _Sent(name)
        forced = delivery(cls, handler).forced
        stand_in = make_stand_in(cls, sent.take, attempt, forced=forced)
        outcome = await run_once(stand_in, attempt, stand_in.dispatch(event), handler=name, logger=logger)
        if attempt.abandoned is not None:
            logger.error(
                "%s uses self.%s, which can differ between clients. Their responses are held by a proxy, so that it "
                "runs once for all: put what it needs into the event, or use a group for those it is meant for.",
                name,
                attempt.abandoned,
            )
            return []
        if outcome is Outcome.FAILED:
            return []
        if outcome is Outcome.STOPPED:
            sent.closed = True
        return sent.entries

    @classmethod
    def grip_format(cls, written: Written) -> Format:
        """A piece of the body, or its end."""
        return StreamClose() if written.entry.closes else StreamChunk(_bytes(written))

    @classmethod
    def grip_next(cls, backlog: Backlog) -> Response:
        """What a client has missed, and a hold that goes on from there, unless it is over or something is lost."""
        if not backlog.complete:
            return Response(200, [], b"")
        return _held_response(cls, 200, [("Content-Type", "application/octet-stream")], b"", backlog, first=False)


#: Types of events for which a consumer could not have a handler.
_NO_HANDLERS = frozenset(dir(AsyncHttpConsumer))


class _Sent:
    """What a group handler sends."""

    def __init__(self, handler: str) -> None:
        self.closed = False
        self._handler = handler
        self._chunks: list[bytes] = []

    async def take(self, message: Message) -> None:
        """Raises ValueError for what is no piece of a body: the response has begun."""
        if message["type"] != "http.response.body":
            raise ValueError(f"A group handler can send body; {self._handler} sent {message['type']!r}.")
        if not self.closed:
            self._chunks.append(message.get("body", b""))
            self.closed = not message.get("more_body", False)

    @property
    def entries(self) -> list[Entry]:
        body = b"".join(self._chunks)
        return [*([Entry(body)] if body else []), *([Entry(b"", closes=True)] if self.closed else [])]


class _Answer:
    """The response of one request: sent as it comes, or kept until it is known whether it is to be held."""

    def __init__(self, cls: type[AsyncHttpConsumer], channel_name: str, signature: str | None, send: Send) -> None:
        self.membership = Membership(cls, channel_name)
        self._cls, self._signature, self._send = cls, signature, send
        self._start: Message | None = None
        self._kept: list[bytes] = []
        self._open = False
        self._begun = False

    @property
    def held(self) -> bool:
        """Whether it was left open, in a group."""
        return self._open and bool(self.membership.positions)

    async def take(self, message: Message) -> None:
        """Take one ASGI message of the consumer."""
        if self._begun:
            await self._send(message)
        elif message["type"] == "http.response.start":
            _check_headers(message.get("headers", ()))
            self._start = message
        elif message.get("more_body") and self.membership.positions:
            self._open = True
            self._kept.append(message.get("body", b""))
        else:
            await self._begin(message)

    async def _begin(self, message: Message) -> None:
        self._begun, self._open = True, False
        self.membership.too_late = True
        if self._start is not None:
            await self._send(self._start)
        await self._send({**message, "body": b"".join([*self._kept, message.get("body", b"")])})

    async def hold(self) -> None:
        """Have the proxy hold the response: whoever came without one is told so."""
        if self._start is None:
            raise RuntimeError(f"{self._cls.__qualname__} sent body without headers: call send_headers() first.")
        if not streams.is_proxied(self._signature):
            await _send_whole(Response(501, [("Content-Type", "text/plain")], streams.NOT_PROXIED.encode()), self._send)
            return
        headers = _decoded(self._start["headers"])
        positions = self.membership.positions
        backlog = await off_loop(partial(streams.look_back, list(positions), positions, expiry=self._cls.expiry))
        whole = _held_response(self._cls, self._start["status"], headers, b"".join(self._kept), backlog, first=True)
        await _send_whole(whole, self._send)


def _held_response(
    cls: type[AsyncHttpConsumer],
    status: int,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    backlog: Backlog,
    *,
    first: bool,
) -> Response:
    at, pieces = streams.before(backlog), [body]
    room = (_FIRST_MAX if first else _NEXT_MAX) - len(body)
    for written in backlog.entries:
        if written.entry.closes:
            return Response(status, list(headers), b"".join(pieces))
        room -= len(_bytes(written))
        if room < 0 and (first or len(pieces) > 1):
            # The next link brings the rest at once.
            break
        at[written.channel] = written.position
        pieces.append(_bytes(written))
    hold = streams.stream_hold(cls, at, first=first, whole=at == backlog.positions)
    kept = [(name, value) for name, value in headers if not name.lower().startswith(_OURS)]
    # Nothing that was kept anywhere could be held again.
    return Response(status, [*kept, ("Cache-Control", _NOT_KEPT), *hold.headers()], b"".join(pieces))


#: Bytes of a response that Pushpin takes to hold, less what headers need; it takes more of those that go on.
_FIRST_MAX, _NEXT_MAX = 60_000, 500_000
#: Headers that a held response does not have from the consumer.
_OURS = ("content-length", "cache-control", "grip-")
_NOT_KEPT = "private, no-store"


def _check_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises LocalProtocolError for what a server may write as two headers."""
    for name, value in _decoded(headers):
        check_token(name, "a header name")
        check_value(value, "a header value")


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _bytes(written: Written) -> bytes:
    content = written.entry.content
    return content if isinstance(content, bytes) else content.encode()


# Between the interfaces ---------------------------------------------------------------------------------------------


def _grip_headers(scope: Scope) -> tuple[str | None, list[str]]:
    """Grip-Sig and Grip-Last."""
    found = [(name, value.decode("latin-1")) for name, value in scope["headers"] if name.startswith(b"grip-")]
    signatures = [value for name, value in found if name == b"grip-sig"]
    return ",".join(signatures) or None, [value for name, value in found if name == b"grip-last"]


async def _send_whole(response: Response, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _scope(request: HttpRequest, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope:
    found = getattr(request, "scope", None)
    scope: Scope = dict(found) if found is not None else _from_environ(request)
    scope.update(url_route={"args": args, "kwargs": kwargs}, cookies=request.COOKIES)
    for name in ("user", "session"):
        if hasattr(request, name):
            scope[name] = getattr(request, name)
    _load(scope)
    return scope


def _load(scope: Scope) -> None:
    """Fetch what is lazy here, since the database does not answer on an event loop."""
    session = scope.get("session")
    if getattr(session, "session_key", None):
        session.keys()  # type: ignore[union-attr]
    getattr(scope.get("user"), "is_authenticated", None)


def _from_environ(request: HttpRequest) -> Scope:
    environ = request.META
    headers = environ_headers(environ)
    for key, name in (("CONTENT_TYPE", b"content-type"), ("CONTENT_LENGTH", b"content-length")):
        if environ.get(key):
            headers.append((name, str(environ[key]).encode("latin-1")))
    parts = environ_parts(environ, decoded=True)
    return {"type": "http", "asgi": {"version": "3.0"}, "method": request.method, "headers": headers, **parts}


async def _run(app: ASGIApplication, scope: Scope, body: bytes) -> list[Message]:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def _as_response(messages: list[Message]) -> HttpResponse:
    if not messages or messages[0]["type"] != "http.response.start":
        raise RuntimeError("The consumer returned from handle() without having sent a response.")
    content = b"".join(message.get("body", b"") for message in messages[1:])
    named = defaultdict[str, list[str]](list)
    for name, value in _decoded(messages[0]["headers"]):
        named[name.title()].append(value)
    response = (Held if "Grip-Hold" in named else HttpResponse)(content, status=messages[0]["status"])
    del response["Content-Type"]
    for number, cookie in enumerate(map(_cookie, named.pop("Set-Cookie", ()))):
        # Several may have one name, for other paths.
        key = f"{cookie.key} {number}" if cookie.key in response.cookies else cookie.key
        response.cookies[key] = cookie
    for name, values in named.items():
        # RFC 9110 §5.3: but for cookies, several headers are as good as one with a list.
        response[name] = ", ".join(values)
    return response


def _cookie(header: str) -> Morsel[str]:
    """A Set-Cookie header as the consumer has written it, whatever attributes it has."""
    name, _, rest = header.partition("=")
    found: Morsel[str] = Morsel()
    found.set(name.strip(), rest.partition(";")[0].strip().strip('"'), rest)
    return found
