"""A batch that a Django view answers: what the views of every style share.

`begin` verifies and decodes the batch of a request and leaves the connection there, where `connection_of` finds it.
The view acts on its `exchange`; `finish` turns what the view returned into the answer for the proxy.

The first answer leaves a sealed state with the proxy, even an empty one: later batches prove by it that they belong
to a connection that a view has accepted. So nothing that a client can send is taken for one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from http.cookies import Morsel, SimpleCookie
from io import BytesIO
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from grip_consumers import conf
from grip_consumers.exceptions import StateError
from grip_consumers.handshake import ENDED, VIEW_META, BatchRequest, from_asgi, from_wsgi
from grip_consumers.protocol import (
    CONTENT_TYPE,
    Exchange,
    LocalProtocolError,
    RemoteProtocolError,
    Response,
    State,
    decode,
    is_batch,
)
from grip_consumers.protocol.control import keep_alive
from grip_consumers.state import (
    ConnectionState,
    Reference,
    delete,
    encode,
    load,
    open_token,
    save,
    seal_state,
)
from grip_consumers.state import decode as decode_value
from grip_consumers.verification import grace_for, verify

from .origins import origin_refusal

__all__ = [
    "ViewConnection",
    "batch_request",
    "begin",
    "connection_of",
    "http_response",
    "is_batch_request",
    "origin_refusal",
    "read_body",
    "refusal",
]

logger = logging.getLogger("grip_consumers.views")

#: What stands for the consumer in the state of a connection that views answer.
_OWNER = "grip_consumers.views"
_ATTRIBUTE = "_grip_connection"
#: Statuses with which a view that has talked to the connection returns.
_DONE = frozenset({200, 204})


def is_batch_request(request: HttpRequest) -> bool:
    """Whether a request carries a batch of WebSocket events, answered by nobody yet."""
    if isinstance(request, ASGIRequest):
        types = [value.decode("latin-1") for name, value in request.scope["headers"] if name == b"content-type"]
    else:
        types = [request.META.get("CONTENT_TYPE", "")]
    return is_batch(request.META.get("REQUEST_METHOD", ""), types)


def connection_of(request: HttpRequest) -> ViewConnection | None:
    """The connection whose batch the request carries; None for any other request, and before `begin`."""
    found: ViewConnection | None = getattr(request, _ATTRIBUTE, None)
    return found


def begin(request: HttpRequest) -> ViewConnection:
    """Verify and decode the batch that a request carries. A second call returns what the first has made.

    From here on CsrfViewMiddleware leaves the request alone: a batch is no form post, and its Origin is looked at
    instead (`origin_refusal`).

    Raises:
        RemoteProtocolError: it carries none, was not signed by a proxy, or is malformed; `refusal` makes the
            response of it.
    """
    known = connection_of(request)
    if known is not None:
        return known
    if not is_batch_request(request):
        raise RemoteProtocolError("expected a batch of WebSocket events from a GRIP proxy, got another request")
    connection = ViewConnection(batch_request(request, read_body(request)), meta=_meta(request))
    setattr(request, _ATTRIBUTE, connection)
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # as Django's own test client says it
    return connection


def refusal(error: RemoteProtocolError) -> HttpResponse:
    """The response to a batch that `begin` has refused."""
    return HttpResponse(f"{error}\n", status=error.status_hint, content_type="text/plain; charset=utf-8")


class ViewConnection:
    """One batch on its way through a view, and the state of its connection.

    Attributes:
        exchange: the batch and the answer to it.
        events: what the batch holds. The exchange hands them out, one by one.
        id: the proxy's name of the connection.
        meta: what `Set-Meta-*` has left with the proxy, names in lower case. Change it, and the proxy keeps the
            change. Plain text that is neither sealed nor secret; `state` is.

    Raises:
        RemoteProtocolError: the batch was not signed by a proxy, or is malformed.
    """

    def __init__(self, batch: BatchRequest, *, meta: dict[str, str] | None = None) -> None:
        self._batch = batch
        self._settings = conf.get()
        verify(batch.signature, self._settings, grace=grace_for(batch.body))
        if not batch.connection_id:
            raise RemoteProtocolError("expected a Connection-Id header, got none")
        limits = self._settings
        self.events = decode(batch.body, max_events=limits.batch_max_events, max_size=limits.batch_max_size)
        self.exchange = Exchange(self.events)
        self.id = batch.connection_id
        self.meta = dict(meta or {})
        self._meta_before = dict(self.meta)
        self._state: dict[str, Any] | None = None
        self._stored = b""
        self._reference: Reference | None = None
        self._renew = False
        self._answer: Response | None = None
        #: Whether there is a state that this project has sealed, or will be.
        self._known = self.exchange.opening or self._open()

    @property
    def opening(self) -> bool:
        """Whether the batch asks for the connection."""
        return self.exchange.opening

    @property
    def ended(self) -> bool:
        """Whether this side has closed the connection before, or its state is lost: no view is to see the batch."""
        return not self._known

    @property
    def state(self) -> dict[str, Any]:
        """What views keep from batch to batch, sealed: no client can read or change it.

        Values of the types that consumers can keep. Raises SealBroken for a state that is gone from the cache.
        """
        if self._state is None:
            self.load()
            self._state = decode_value(self._stored) if self._stored else {}
        return self._state

    def accept(self, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Accept the connection, which the proxy then keeps open. Raises as `Exchange.accept`."""
        self.exchange.accept(subprotocol=subprotocol, headers=headers)
        if self._settings.heartbeat:
            self.exchange.send_control(keep_alive(timeout=self._settings.heartbeat))

    def subscribe(self, channel: str, filters: Sequence[str] = ()) -> None:
        """Add the connection to a channel, GRIP_PREFIX in front. Raises as `control.subscribe`."""
        self.exchange.subscribe(self._settings.prefix + channel, filters)

    def unsubscribe(self, channel: str) -> None:
        """Take the connection out of a channel."""
        self.exchange.unsubscribe(self._settings.prefix + channel)

    # The state

    @property
    def needs_thread(self) -> bool:
        """Whether `prepare` has to ask a cache."""
        wanted = not self.exchange.heartbeat or self._renew
        return self._reference is not None and not self._stored and wanted

    def load(self) -> None:
        """Fetch a state that is too large for a header. Raises SealBroken if it is gone."""
        if self._reference is not None and not self._stored:
            self._adopt(load(self._reference, self._batch.identity, self._settings))

    async def aload(self) -> None:
        """As `load`, without blocking the event loop."""
        if self.needs_thread:
            await sync_to_async(self.load)()

    def _open(self) -> bool:
        token = self._batch.view_state
        if token == ENDED or (token is None and self.exchange.heartbeat):
            # Among them the echo of a close that this side has sent.
            return False
        if token is None:
            self._lose(StateError("the batch brought no state, though it does not open a connection"))
            return False
        try:
            found, self._renew = open_token(token, self._batch.identity, self._settings)
            if isinstance(found, Reference):
                self._reference = found
            else:
                self._adopt(found)
        except (StateError, ValueError) as error:
            self._lose(error)
            return False
        return True

    def _adopt(self, found: ConnectionState) -> None:
        if found.consumer != _OWNER:
            raise StateError(f"The state of this connection belongs to the consumer {found.consumer}, not to a view.")
        self._stored = found.attributes

    def _lose(self, error: Exception) -> None:
        # No traceback: what a client or an outdated process sent is not an error of this one.
        logger.warning("Closed a connection with %d: %s", _SERVICE_RESTART, error)
        self.exchange.fail(_SERVICE_RESTART)
        self._known = False

    # The answer

    def prepare(self) -> HttpResponseBase | None:
        """Fetch what the view needs; the response if no view needs to run: pings, and what comes after the end."""
        try:
            if self.needs_thread:
                self.load()
        except (StateError, ValueError) as error:
            self._lose(error)
        if self._known and not self.exchange.heartbeat:
            return None
        return self.response()

    async def aprepare(self) -> HttpResponseBase | None:
        """As `prepare`, without blocking the event loop."""
        return await sync_to_async(self.prepare)() if self.needs_thread else self.prepare()

    def response(self) -> HttpResponseBase:
        """The answer for the proxy: what was done to the exchange. A second call gives the same."""
        return self.finish(HttpResponse())

    async def aresponse(self) -> HttpResponseBase:
        """As `response`, without blocking the event loop."""
        return await self.afinish(HttpResponse())

    def finish(self, response: HttpResponseBase) -> HttpResponseBase:
        """The answer for the proxy, made of what the view returned and did to the exchange.

        An empty 200 or 204 stands for what was done. Anything else refuses a handshake; later it is an error,
        logged, that closes the connection with 1011. A second call changes nothing.
        """
        answer, store = self._conclude(response)
        return answer if store is None else self._after(store, answer)

    async def afinish(self, response: HttpResponseBase) -> HttpResponseBase:
        """As `finish`, without blocking the event loop."""
        answer, store = self._conclude(response)
        return answer if store is None else await sync_to_async(self._after)(store, answer)

    def _after(self, store: Callable[[], None], answer: HttpResponseBase) -> HttpResponseBase:
        try:
            store()
        except Exception:
            logger.exception("The state of a connection to %s cannot be stored", self._batch.path)
            return http_response(self._last_words())
        return answer

    def _conclude(self, response: HttpResponseBase) -> tuple[HttpResponseBase, Callable[[], None] | None]:
        if response.headers.get("Content-Type") == CONTENT_TYPE or (self.opening and not _is_done(response)):
            return response, None
        store = None
        if not _is_done(response):
            logger.error(
                "Closed a connection to %s with 1011: expected an empty response with status 200, got %d",
                self._batch.path,
                response.status_code,
            )
            self.exchange.fail()
        if self._answer is None or not _is_done(response):
            self._answer, store = self._written()
        answer = http_response(self._answer)
        if self.opening:
            _add_cookies(answer, response.cookies.values())
        return answer, store

    def _written(self) -> tuple[Response, Callable[[], None] | None]:
        try:
            store = self._write()
            return self.exchange.response(), store
        except Exception:
            # Not only errors of ours: the values of a state may be of the project's classes.
            logger.exception("The answer to a batch for %s cannot be sent", self._batch.path)
        try:
            return self._failed(), None
        except LocalProtocolError:
            return self._last_words(), None

    def _failed(self) -> Response:
        """What was sent so far, and the end of the connection."""
        if self.opening:
            return self._last_words()
        self.exchange.fail()
        self.exchange.set_meta(VIEW_META, ENDED)
        return self.exchange.response()

    def _write(self) -> Callable[[], None] | None:
        """Answer what the view has not read, and say what is to be kept. What is left to do with the cache."""
        exchange = self.exchange
        while exchange.next_event() is not None:
            pass
        if exchange.state is State.CONNECTING:
            logger.error("The view on %s neither accepted nor refused the connection", self._batch.path)
            exchange.fail()
        self._write_meta()
        if exchange.state is State.OPEN and self._known:
            return self._seal()
        if exchange.state is State.CLOSING:
            exchange.set_meta(VIEW_META, ENDED)
        return self._forget()

    def _write_meta(self) -> None:
        for name in self._meta_before.keys() - self.meta.keys():
            self.exchange.set_meta(name, "")
        for name, value in self.meta.items():
            if self._meta_before.get(name) != value:
                self.exchange.set_meta(name, value)

    def _seal(self) -> Callable[[], None] | None:
        found = self._stored if self._state is None else encode(self._state) if self._state else b""
        if found == self._stored and not (self.opening or self._renew):
            return None
        state = ConnectionState(_OWNER, b"", "", attributes=found)
        token, entries = seal_state(state, self._batch.identity, self._settings)
        self.exchange.set_meta(VIEW_META, token)
        if entries:
            return lambda: save(entries, self._settings)
        return self._forget()

    def _forget(self) -> Callable[[], None] | None:
        reference = self._reference
        return None if reference is None else lambda: delete(reference, self._settings)

    def _last_words(self) -> Response:
        if self.opening:
            return Response(500, [("Content-Type", "text/plain")], b"Internal Server Error")
        exchange = Exchange([])
        exchange.fail()
        exchange.set_meta(VIEW_META, ENDED)
        return exchange.response()


#: RFC 6455 §7.4.1 and its registry: the server cannot go on with this connection, but a new one will do.
_SERVICE_RESTART = 1012


def _is_done(response: HttpResponseBase) -> bool:
    return response.status_code in _DONE and not response.streaming and not getattr(response, "content", b"")


def _meta(request: HttpRequest) -> dict[str, str]:
    found = {
        key.removeprefix(_META).replace("_", "-").lower(): value
        for key, value in request.META.items()
        if key.startswith(_META)
    }
    found.pop(VIEW_META.lower(), None)
    return found


_META = "HTTP_META_"


# Requests and responses ----------------------------------------------------------------------------------


def batch_request(request: HttpRequest, body: bytes) -> BatchRequest:
    """The batch in one of Django's requests."""
    if isinstance(request, ASGIRequest):
        return from_asgi(request.scope, body)
    return from_wsgi(request.META, body, decoded=True)


def read_body(request: HttpRequest) -> bytes:
    """The request's body, left where `request.body` finds it. Reading stops beyond the limit, which decoding refuses.

    Not `request.body`, which has a limit of its own (DATA_UPLOAD_MAX_MEMORY_SIZE) for forms.
    """
    if not hasattr(request, "_body"):
        body: bytes = request.read(conf.get().batch_max_size + 1)
        request._body, request._stream = body, BytesIO(body)
    return request.body


def http_response(response: Response) -> HttpResponse:
    """A response of the protocol as one of Django's."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in response.headers:
        if name.lower() == "set-cookie":
            # HttpResponse keeps one value a name, but cookies apart.
            cookies.append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    answer = HttpResponse(response.body, status=response.status, headers=headers)
    for cookie in cookies:
        _add_cookies(answer, SimpleCookie(cookie).values())
    return answer


def _add_cookies(answer: HttpResponse, morsels: Iterable[Morsel[str]]) -> None:
    for morsel in morsels:
        # By number: two of one name, for different paths, are two cookies.
        dict.__setitem__(answer.cookies, str(len(answer.cookies)), morsel)
