"""One HTTP request of a client at work: passed on, and held where the response asks for it.

`following` decides what published items mean, `instruct` what a response asks for; here is what takes time: waiting
for items, for the clock, for the backend, and for the client to leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from .backend import Application, Backend, BackendError, Scope, Send
from .connection import Limits, Request, Response
from .exchange import Answering, ClientSide
from .filters import FilterError, rendered_initial
from .following import Following, GapError
from .handshake import GRIP_FEATURE, Header, Signer, first_value
from .hub import Answer, Chunk, Close, Hub, Item
from .instruct import Instruct, InstructError, read_instruct

__all__ = ["Passage"]

logger = logging.getLogger("grip_consumers.embedded")

#: Of a plain request, these do not reach the application: they are the proxy's, or belong to one hop.
_DROPPED = frozenset({b"connection", b"keep-alive"})
_GRIP = b"grip-"
_PLAIN = [(b"content-type", b"text/plain")]
_BAD_GATEWAY = b"Error while proxying to origin.\n"
#: Statuses whose responses have no body (RFC 9110 §6.4.1).
_BODILESS = frozenset({204, 304})
#: A link that fails is tried again so often, each time after twice as many seconds.
_RETRIES, _RETRY_SECONDS = 5, 1.0


class _ClientGoneError(Exception):
    """The client has left."""


class Passage:
    """Runs one HTTP request from start to end; a `hub.Subscriber` while its response is held.

    Args:
        app: the wrapped application.
        hub: where its channels are.
        signer: makes Grip-Sig.
        limits: what it may use.
    """

    def __init__(self, app: Application, hub: Hub, signer: Signer, limits: Limits) -> None:
        self._app = app
        self._hub = hub
        self._signer = signer
        self._limits = limits
        self._following = Following(limits.subscriptions)
        self._mode = ""
        self._queue: deque[Item] = deque()
        self._wake = asyncio.Event()
        self._calls: set[asyncio.Future[None]] = set()
        self._keep_alive_due: float | None = None
        self._begun = False

    @property
    def user(self) -> str | None:
        """None: filters are applied when an item's turn comes, here and not in the hub."""
        return None

    def receive(self, item: Item) -> None:
        """Take in what a published item says to responses held like this one."""
        if (item.stream if self._mode == "stream" else item.response) is None:
            return
        if len(self._queue) >= self._limits.queued_items:
            logger.warning("A held response is slow: an item published to %r is dropped.", item.channel)
            return
        self._queue.append(item)
        self._wake.set()

    async def run(self, scope: Scope, receive: Any, send: Send) -> None:
        """Serve the request. Raises what the application raises while nothing is held."""
        self._scope, self._send = scope, send
        self._client = ClientSide(receive, self._limits.request_bytes)
        try:
            await self._serve()
        except _ClientGoneError:
            pass
        finally:
            self._client.close()
            if self._calls:
                await asyncio.gather(*self._calls, return_exceptions=True)

    async def _serve(self) -> None:
        last: list[Header] | None = []
        body: bytes | None = None
        while last is not None:
            response = await self._ask(last, body)
            if response is None:
                return
            last = await self._unless_gone(self._carry_out(response))
            body = self._client.body if self._client.complete else None
            if last is not None and body is None:
                logger.error("A held request cannot be repeated: its body is not complete or too long.")
                await self._give(502, _PLAIN, _BAD_GATEWAY)
                return

    # --- the application's answer ---

    async def _ask(self, last: list[Header], body: bytes | None) -> Response | None:
        """Return the response if it asks for something; None if it has gone to the client."""
        answering = Answering(self._client, self._send, self._limits.response_bytes, body)
        scope = {**self._scope, "headers": self._request_headers(last)}
        call = asyncio.ensure_future(_call(self._app, scope, answering))
        try:
            await asyncio.wait({call, answering.over}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            raise
        if not answering.over.done():
            call.result()
            return None
        self._let_end(call)
        try:
            return answering.response()
        except ValueError as error:
            await self._fail(str(error))
            return None

    def _let_end(self, call: asyncio.Future[None]) -> None:
        self._calls.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Future[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and call.exception() is not None:
            logger.error("The application raised an exception after its response.", exc_info=call.exception())

    def _request_headers(self, last: list[Header]) -> list[Header]:
        passed_on = [
            (name, value)
            for name, value in self._scope["headers"]
            if name not in _DROPPED and not name.startswith(_GRIP)
        ]
        return [*passed_on, *self._own_headers(last)]

    def _own_headers(self, last: list[Header]) -> list[Header]:
        return [*last, (b"grip-sig", self._signer.token()), (b"grip-feature", GRIP_FEATURE.encode())]

    # --- holding ---

    async def _carry_out(self, response: Response) -> list[Header] | None:
        """Do what a response asks for. Returns what to add to a repetition of the request, or None at the end."""
        try:
            instruct = read_instruct(response.status, response.headers, response.body)
        except InstructError as error:
            await self._fail(str(error))
            return None
        if instruct.mode == "response":
            return await self._wait(instruct)
        if instruct.mode or instruct.link:
            await self._stream(instruct)
        else:
            await self._give(instruct.status, instruct.headers, instruct.body)
        return None

    async def _wait(self, instruct: Instruct) -> list[Header] | None:
        """Hold a request until its answer is published; returns as `_carry_out` does."""
        self._listen(instruct)
        due = time.monotonic() + instruct.timeout
        if self._is_behind():
            return self._following.last()
        while True:
            try:
                if await self._answered(instruct):
                    return None
            except GapError:
                return self._following.last()
            except FilterError as error:
                await self._fail(str(error))
                return None
            if not await self._woken(due):
                await self._give(instruct.status, instruct.headers, instruct.body)
                return None

    async def _answered(self, instruct: Instruct) -> bool:
        """Answer with what is queued, if there is an answer among it. Raises GapError for a hint too."""
        while self._queue:
            item = self._queue.popleft()
            if not self._takes(item):
                continue
            if not isinstance(item.response, Answer):
                raise GapError
            answer = item.response
            body = self._following.render(item, answer.body, answer.filters)
            given = {name.lower() for name, _ in answer.headers}
            inherited = [(name, value) for name, value in instruct.headers if name.lower() not in given]
            await self._give(answer.status, [*inherited, *answer.headers], body)
            return True
        return False

    async def _stream(self, instruct: Instruct) -> None:
        headers = [(name.lower(), value) for name, value in instruct.headers]
        self._begun = True
        await self._send({"type": "http.response.start", "status": instruct.status, "headers": headers})
        try:
            await self._parts(instruct)
        except (FilterError, InstructError, BackendError) as error:
            logger.error("A held response to %s ends: %s.", self._scope["path"], error)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _parts(self, instruct: Instruct) -> None:
        """Send one part of a stream after the other, and what is published between them."""
        here = self._uri()
        first = True
        while True:
            await self._write(self._initial(instruct))
            if instruct.mode == "response":
                raise InstructError("expected the next part of a stream to be held as a stream, got a response")
            if instruct.mode:
                self._listen(instruct)
                if self._following.without_gaps and not instruct.link:
                    raise InstructError("expected Grip-Link with rel=next for a channel with prev-id, got none")
                if not await self._follow(instruct, first):
                    return
            if not instruct.link:
                return
            first = False
            here = urljoin(here, instruct.link)
            response = await self._fetch(here)
            instruct = read_instruct(response.status, response.headers, response.body)

    async def _follow(self, instruct: Instruct, first: bool) -> bool:
        """Send what is published; returns True when the next link is to be asked, False at the end."""
        if first and self._is_behind():
            return True
        while self._queue and not self._following.fits(self._queue[0]):
            # From before this part, whose body has it.
            self._queue.popleft()
        clock = _Clock(instruct, self._keep_alive_due)
        try:
            while True:
                try:
                    if await self._sent(clock):
                        return False
                except GapError:
                    self._queue.clear()
                    if instruct.link:
                        return True
                if not await self._woken(clock.due):
                    if clock.keep_alive_is_due():
                        await self._write(instruct.keep_alive)
                    if clock.link_is_due():
                        return True
        finally:
            self._keep_alive_due = clock.keep_alive

    async def _sent(self, clock: _Clock) -> bool:
        """Send what is queued; returns whether the stream is over. Raises GapError for a hint too."""
        while self._queue:
            item = self._queue.popleft()
            if not self._takes(item):
                continue
            if isinstance(item.stream, Close):
                return True
            if not isinstance(item.stream, Chunk):
                raise GapError
            await self._write(self._following.render(item, item.stream.content, item.stream.filters))
            clock.sent(item.channel, len(self._following.channels))
        return False

    def _takes(self, item: Item) -> bool:
        try:
            return self._following.takes(item)
        except GapError:
            self._hub.forget_last_id(item.channel)
            raise

    def _initial(self, instruct: Instruct) -> bytes:
        filters = [name for channel in instruct.channels for name in channel.filters]
        return rendered_initial(instruct.body, filters, instruct.meta)

    # --- channels ---

    def _listen(self, instruct: Instruct) -> None:
        self._mode = instruct.mode
        new, left = self._following.change(instruct.channels, instruct.meta)
        for name in left:
            self._hub.unsubscribe(name, self)
        for name in new:
            self._hub.subscribe(name, self, frozenset())

    def _leave(self) -> None:
        _, left = self._following.change((), {})
        self._hub.remove(self, left)
        self._queue.clear()

    def _is_behind(self) -> bool:
        """Whether a channel is known to have moved on; what is known is forgotten, so that this ends."""
        behind = [
            channel.name
            for channel in self._following.channels.values()
            if channel.prev_id is not None and self._hub.last_id(channel.name) not in {None, channel.prev_id}
        ]
        for name in behind:
            self._hub.forget_last_id(name)
        return bool(behind)

    async def _woken(self, due: float | None) -> bool:
        """Wait for an item; returns False if the time `due` comes before."""
        if not self._queue:
            self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), None if due is None else max(0.0, due - time.monotonic()))
        except asyncio.TimeoutError:
            return False
        return True

    # --- links ---

    def _uri(self) -> str:
        scope = self._scope
        path = scope.get("raw_path") or quote(scope["path"]).encode()
        query = b"?" + scope["query_string"] if scope.get("query_string") else b""
        host = first_value(scope["headers"], b"host") or b""
        return f"{scope.get('scheme', 'http')}://{(host + path + query).decode('latin-1')}"

    async def _fetch(self, uri: str) -> Response:
        """Return the response of a link, tried again while it fails. Raises BackendError at last."""
        place = urlsplit(uri)
        host = first_value(self._scope["headers"], b"host") or b""
        if place.netloc != host.decode("latin-1"):
            raise BackendError(f"expected a link to {host!r:.60}, which the embedded proxy can ask, got {uri:.200}")
        backend = Backend(self._app, self._scope, self._limits.response_bytes)
        target = {
            "method": "GET",
            "path": unquote_to_bytes(place.path).decode("utf-8", "replace"),
            "raw_path": place.path.encode(),
            "query_string": place.query.encode(),
        }
        for attempt in range(_RETRIES + 1):
            headers = [(b"host", host), (b"accept", b"*/*"), *self._own_headers(self._following.last())]
            try:
                response = await backend.request(Request(headers, b""), target)
                if 200 <= response.status < 300:
                    return response
                problem = f"the link {uri:.200} answered {response.status}"
            except BackendError as error:
                problem = str(error)
            logger.warning("A next link fails: %s.", problem)
            if attempt < _RETRIES:
                await _pause(_RETRY_SECONDS * 2**attempt)
        raise BackendError(problem)

    # --- the client ---

    async def _unless_gone(self, work: Coroutine[None, None, list[Header] | None]) -> list[Header] | None:
        """Do something until it is done or the client leaves; either way its channels are left."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._client.gone())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _ClientGoneError
            return task.result()
        except asyncio.CancelledError:
            # So a server ends what still runs when it stops; what came out here it would log as a failure.
            task.cancel()
            await self._end()
            raise _ClientGoneError from None
        except OSError:
            # So an ASGI server says that the client is gone (ASGI, "Disconnected Client").
            raise _ClientGoneError from None
        finally:
            task.cancel()
            gone.cancel()
            self._leave()
            # A server that stops cancels more than once.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(task, gone, return_exceptions=True)

    async def _end(self) -> None:
        """End a held response before its time."""
        if self._begun:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._give(503, _PLAIN, b"The server stops.\n")

    async def _write(self, content: bytes) -> None:
        if content:
            await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def _fail(self, reason: str) -> None:
        logger.error("A request for %s is answered 502: %s.", self._scope["path"], reason)
        await self._give(502, _PLAIN, _BAD_GATEWAY)

    async def _give(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a whole response."""
        sent = [(name.lower(), value) for name, value in headers if name.lower() != b"content-length"]
        if status in _BODILESS:
            body = b""
        else:
            sent.append((b"content-length", b"%d" % len(body)))
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
        await self._send({"type": "http.response.body", "body": body})


class _Clock:
    """When a stream is to hear a keep-alive, and when its next link is to be asked.

    Args:
        instruct: says after how many seconds.
        keep_alive: when the keep-alive is due that an earlier part has left, or None.
    """

    def __init__(self, instruct: Instruct, keep_alive: float | None) -> None:
        self._instruct = instruct
        self._heard: set[str] = set()
        self.keep_alive = self._after(instruct.keep_alive_timeout)
        if keep_alive is not None and self.keep_alive is not None:
            self.keep_alive = min(keep_alive, self.keep_alive)
        self.link = self._after(instruct.link_timeout)

    @property
    def due(self) -> float | None:
        """When the next of the two is due."""
        return min((at for at in (self.keep_alive, self.link) if at is not None), default=None)

    def sent(self, channel: str, channels: int) -> None:
        """An item of a channel was sent: once all have been heard of, the link's time begins anew."""
        if self._instruct.keep_alive_idle:
            self.keep_alive = self._after(self._instruct.keep_alive_timeout)
        self._heard.add(channel)
        if len(self._heard) == channels:
            self._heard.clear()
            self.link = self._after(self._instruct.link_timeout)

    def keep_alive_is_due(self) -> bool:
        """Whether it is, and if so the next one's time begins."""
        if self.keep_alive is None or time.monotonic() < self.keep_alive:
            return False
        self.keep_alive = self._after(self._instruct.keep_alive_timeout)
        return True

    def link_is_due(self) -> bool:
        """Whether the next link is to be asked."""
        return self.link is not None and time.monotonic() >= self.link

    @staticmethod
    def _after(seconds: int | None) -> float | None:
        return None if seconds is None else time.monotonic() + seconds


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _call(app: Application, scope: Scope, answering: Answering) -> None:
    await app(scope, answering.receive, answering.send)
