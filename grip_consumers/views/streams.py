"""Views whose clients are in groups: Server-Sent Events (`EventStream`) and long-polling (`LongPoll`).

    class Prices(EventStream):
        groups = ["prices"]

        def price_changed(self, event):
            self.send(event["price"], event="price")

    path("prices/", Prices.as_view())

`group_send("prices", {"type": "price.changed", …})` reaches them like WebSocket consumers. No process waits for it: the
proxy holds the response, and a handler runs once for all clients, wherever the event is sent. So it has no `request`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import update_wrapper
from inspect import isawaitable, iscoroutinefunction
from typing import Any, NamedTuple, cast

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.decorators import classonlymethod
from django.views import View

from grip_consumers import streams
from grip_consumers.db import database_sync_to_async
from grip_consumers.generic.held import Held
from grip_consumers.layers import BaseChannelLayer
from grip_consumers.protocol import HeldResponse, Response, StreamChunk
from grip_consumers.protocol.holds import Channel, Hold
from grip_consumers.protocol.items import Message as Format
from grip_consumers.registry import register_stream
from grip_consumers.streams import BUILD_ID, Backlog, Entry, Written
from grip_consumers.types import Message

__all__ = ["EventStream", "LongPoll", "answer_next_link"]

logger = logging.getLogger("grip_consumers.streams")

#: Of Cache-Control: no answer is the same as another, and an ETag of a middleware's would be none of the position.
_NO_STORE = "no-store"


#: Of a stream. The last one is for an nginx in between, which would wait for more.
_HEADERS = [("Content-Type", "text/event-stream"), ("Cache-Control", _NO_STORE), ("X-Accel-Buffering", "no")]
#: Bytes of a response to hold that Pushpin takes (it answers 502 to more), and how many are filled with events.
_RESPONSE_MAX, _FIRST_MAX = 100_000, 60_000
#: Bytes of events in the answer to a next link, of which proxies take more.
_NEXT_MAX = 500_000

#: What a proxy has to be able to do, as it says in Grip-Feature.
_NEEDED = f"filter:{BUILD_ID}"
_LACKING = (
    f"This address needs a GRIP proxy that writes each client's position into what it delivers ({_NEEDED!r} in its "
    "Grip-Feature), and the one that brought the request does not: connect to one that does, as Pushpin 1.36.\n"
)


class Sent(NamedTuple):
    """One event for a client: its name ("" for none) and its data as text."""

    name: str
    data: str


class GroupView(View):
    """What both kinds of views have in common: groups, handlers, and running them once for all clients.

    A handler is a method named by an event's type, as in consumers, sync or async. It sees the class and the event, no
    request: what differs between clients belongs into `initial()`, or into a group of its own.
    """

    #: The groups of every client; or override `get_groups()`.
    groups: Sequence[str] = ()
    #: Seconds for which a client can catch up; the channel layer's if they are more (60 unless it is configured).
    expiry: float = 60.0

    http_method_names = ["get", "options"]

    @classonlymethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:  # noqa: N805
        """The view function, as Django's. Raises TypeError for arguments other than `groups`.

        Whoever sends an event knows the class, but not how it was routed.
        """
        if unknown := initkwargs.keys() - {"groups"}:
            raise TypeError(
                f"{cls.__name__}.as_view() takes the argument 'groups' alone, not {', '.join(sorted(unknown))}: its "
                "handlers run where an event is sent, for all routes at once. Make a subclass with these attributes."
            )
        register_stream(cls)
        inner = super().as_view(**initkwargs)

        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            # Before any dispatch(): the proxy does not bring the client's cookies along.
            found = answer_next_link(request)
            return inner(request, *args, **kwargs) if found is None else found

        return update_wrapper(view, inner)

    def __getattr__(self, name: str) -> Any:
        if name in {"request", "args", "kwargs"}:
            raise AttributeError(
                f"{type(self).__name__}'s handlers have no self.{name}: they run once for all clients, where the event "
                "is sent. Put what they need into the event, or use a group for those it is meant for."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # For subclasses ---------------------------------------------------------------------------------------------

    def get_groups(self) -> Iterable[str]:
        """The groups of this request's client: `groups` unless overridden. May be a coroutine.

        Raise Django's PermissionDenied or Http404 to refuse the client.
        """
        return self.groups

    def initial(self) -> Any:
        """Send what a client needs at first, by `self.send()`. May be a coroutine.

        Called for new clients, and for those who may have missed something that is gone. What it sends comes first.
        """

    def send(self, data: Any, event: str | None = None) -> None:
        """Send one event: a str as it is, anything else as JSON (by DjangoJSONEncoder).

        Raises ValueError for a name with a line break, text that UTF-8 cannot encode, or a number that JSON has not
        (NaN); TypeError for what JSON cannot say.
        """
        text = data if isinstance(data, str) else _json(data)
        name = event or ""
        if any(character in name for character in "\r\n\0"):
            raise ValueError(f"expected the name of an event in one line, got {name!r:.80}")
        text.encode(), name.encode()
        self._sent.append(Sent(name, text))

    # Rendering --------------------------------------------------------------------------------------------------

    @property
    def _sent(self) -> list[Sent]:
        return cast("list[Sent]", vars(self).setdefault("_grip_sent", []))

    @classmethod
    def grip_handles(cls, handler: str) -> bool:
        """Whether the class has a handler of this name: nothing that a view has anyway."""
        return handler not in _NO_HANDLERS and callable(getattr(cls, handler, None))

    @classmethod
    async def grip_render(cls, handler: str, event: Message) -> list[Entry]:
        """Run the handler; what it raises is logged, and nothing sent."""
        try:
            view = cls()
            method = getattr(view, handler)
            # The sender's language and time zone are not the clients'.
            with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
                result = method(event) if iscoroutinefunction(method) else await database_sync_to_async(method)(event)
                # A decorator may have hidden that it is a coroutine.
                if isawaitable(result):
                    await result
        except Exception:
            logger.exception("Exception in %s.%s.%s for a group event", cls.__module__, cls.__qualname__, handler)
            return []
        return [Entry(cls._joined(view._sent))] if view._sent else []

    @classmethod
    def _joined(cls, sent: Sequence[Sent]) -> str:
        """What stands in the log."""
        raise NotImplementedError

    # Answering --------------------------------------------------------------------------------------------------

    def _channels(self) -> list[str]:
        groups = _called(self.get_groups)
        if isinstance(groups, str):
            raise ImproperlyConfigured(
                f"{type(self).__name__} expected a list of groups, got {groups!r}: write [{groups!r}]."
            )
        names = list(groups)
        for name in names:
            BaseChannelLayer.require_valid_group_name(_ANY_LAYER, name)
        if not names:
            raise ImproperlyConfigured(
                f"{type(self).__name__} has no groups for {self.request.path}: set groups = [...] or override "
                "get_groups()."
            )
        return streams.channels_of(type(self), names)

    def _not_held(self) -> HttpResponse | None:
        """What the client is told if whoever brought the request cannot hold the response."""
        headers = self.request.headers
        if not streams.is_proxied(headers.get("Grip-Sig")):
            return _unable(streams.NOT_PROXIED)
        features = {feature.strip() for feature in headers.get("Grip-Feature", "").split(",")}
        # A proxy that names none may have them all.
        return None if features == {""} or _NEEDED in features else _unable(_LACKING)

    def _look_back(self, channels: Iterable[str], known: str) -> Backlog:
        return streams.look_back(channels, streams.parse_id(known), expiry=self.expiry)

    def _initial(self) -> list[Sent]:
        self._sent.clear()
        _called(self.initial)
        return self._sent


def _called(method: Callable[[], Any]) -> Any:
    result = method()
    return async_to_sync(_awaited)(result) if isawaitable(result) else result


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _json(data: Any) -> str:
    return json.dumps(data, cls=DjangoJSONEncoder, allow_nan=False)


_ANY_LAYER = BaseChannelLayer()


class EventStream(GroupView):
    """Server-Sent Events (HTML standard §9.2) for a group: `new EventSource("/prices/")` in a page.

    A client that was cut off gets what it has missed, each event once, when it comes back within `expiry`: its
    position travels as the events' id, and browsers send it back (Last-Event-ID).
    """

    #: Seconds of silence after which the proxy sends a comment, so that nobody takes the stream for dead; None: never.
    keep_alive: int | None = 20
    #: Milliseconds after which a client that was cut off comes back; None: as it likes.
    retry: int | None = None

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Begin a stream: `initial()`, or what the client has missed; the rest is published."""
        channels = self._channels()
        if (refusal := self._not_held()) is not None:
            return refusal
        backlog = self._look_back(channels, request.headers.get("Last-Event-ID", ""))
        start = f"retry: {int(self.retry)}\n\n" if self.retry is not None else ""
        if not backlog.complete:
            # Before any id: who is cut off before its end gets it again.
            start += _events(self._initial())
        # An event without data is none, but the client keeps its id.
        start += f"id: {streams.format_id(streams.before(backlog))}\n\n"
        if (size := _size(start)) > _RESPONSE_MAX:
            logger.error(
                "%s.initial() made %s bytes: Pushpin takes %s of a response that it is to hold, and answers 502 else.",
                type(self).__qualname__,
                f"{size:,}",
                f"{_RESPONSE_MAX:,}",
            )
        return _http(self._respond(start, backlog, first=True))

    @classmethod
    def grip_next(cls, backlog: Backlog) -> Response:
        """What a client has missed, and a hold that goes on from there.

        If that is not certain, the stream ends, so that the client comes back with its own position.
        """
        return cls._respond("", backlog, first=False) if backlog.complete else Response(200, _HEADERS, b"")

    @classmethod
    def _joined(cls, sent: Sequence[Sent]) -> str:
        return _events(sent)

    @classmethod
    def grip_format(cls, written: Written) -> Format:
        """A piece of the stream, in which the proxy completes each client's position."""
        return StreamChunk(f"{streams.escape(str(written.entry.content))}id: {streams.own_id(written)}\n\n")

    @classmethod
    def _respond(cls, start: str, backlog: Backlog, *, first: bool) -> Response:
        at, pieces = streams.before(backlog), [start]
        room = (_FIRST_MAX if first else _NEXT_MAX) - _size(start)
        for written in backlog.entries:
            piece = f"{written.entry.content!s}id: {streams.format_id({**at, written.channel: written.position})}\n\n"
            room -= _size(piece)
            if room < 0 and (first or len(pieces) > 1):
                break
            at[written.channel] = written.position
            pieces.append(piece)
        # The next link brings the rest at once.
        whole = at == backlog.positions
        hold = streams.stream_hold(cls, at, first=first, whole=whole, filters=(BUILD_ID,), keep_alive=b":\n\n")
        # The proxy filters this body, too.
        return Response(200, [*_HEADERS, *hold.headers()], streams.escape("".join(pieces)).encode())


def _size(text: str) -> int:
    return len(streams.escape(text).encode())


def _events(sent: Iterable[Sent]) -> str:
    """Events in the form of a stream, all but the last one complete: its id is to follow."""
    return "\n".join(_fields(name, data) for name, data in sent)


def _fields(name: str, data: str) -> str:
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (f"event: {name}\n" if name else "") + "".join(f"data: {line}\n" for line in lines)


class LongPoll(GroupView):
    """Long-polling: each request is answered with the events since the one before, as soon as there are any.

    An answer is JSON, `{"id": "…", "events": [{"event": …, "data": …}, …]}`: `data` is what a handler sent, `event` its
    name or null. The client asks on with `?since=<id>`, and gets an empty list when `timeout` is over; without `since`
    it is answered at once, with what `initial()` sends. A client may send the ETag of an answer back instead
    (If-None-Match), and is told 304 when the time is over; in several groups only `since` misses nothing.
    """

    #: Seconds for which a request is held at most.
    timeout: int = 25

    def send(self, data: Any, event: str | None = None) -> None:
        """Send one event; the data arrive as they are, by JSON. Raises as in `GroupView`."""
        super().send(_json(data), event)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer with what is new, or have the proxy hold the request until there is something."""
        channels = self._channels()
        if (refusal := self._not_held()) is not None:
            return refusal
        since, tag = request.GET.get("since"), request.headers.get("If-None-Match", "")
        backlog = self._look_back(channels, since or tag.removeprefix("W/").strip('"'))
        if backlog.complete and not backlog.entries:
            return self._hold(backlog, not_modified=since is None)
        first = [] if backlog.complete else self._initial()
        return _http(_answer(backlog, [*_contents(backlog), *([self._joined(first)] if first else [])]))

    def _hold(self, backlog: Backlog, *, not_modified: bool) -> HttpResponse:
        hold = Hold(
            "response",
            [Channel(channel, str(position), (BUILD_ID,)) for channel, position in backlog.positions.items()],
            timeout=self.timeout,
            meta=streams.id_meta(backlog.positions),
            status=304 if not_modified else None,
        )
        answer = _answer(backlog, [])
        return _http(Response(200, [*answer.headers, *hold.headers()], b"" if not_modified else answer.body))

    @classmethod
    def grip_next(cls, backlog: Backlog) -> Response:
        """What is new: nobody asks so, as such a request is repeated as the client made it."""
        return _answer(backlog, _contents(backlog))

    @classmethod
    def _joined(cls, sent: Sequence[Sent]) -> str:
        return ", ".join(f'{{"event": {json.dumps(name or None)}, "data": {data}}}' for name, data in sent)

    @classmethod
    def grip_format(cls, written: Written) -> Format:
        """The whole answer, in which the proxy completes each client's position."""
        events = streams.escape(str(written.entry.content))
        tag = streams.format_id({written.channel: written.position})
        return HeldResponse(
            headers=[("Content-Type", "application/json"), ("Cache-Control", _NO_STORE), ("ETag", f'"{tag}"')],
            body=f'{{"id": "{streams.own_id(written)}", "events": [{events}]}}',
        )


#: Types of events for which these classes could not have a handler.
_NO_HANDLERS = frozenset({*dir(EventStream), *dir(LongPoll)})


def answer_next_link(request: HttpRequest) -> HttpResponse | None:
    """What the proxy is answered that follows a next link; None for any other request.

    It brings neither the client's cookies nor anything else of it along: the link itself says what was permitted.
    """
    if request.method != "GET":
        return None
    query = request.META.get("QUERY_STRING", "")
    response = streams.follow(query, request.headers.get("Grip-Sig"), [request.headers.get("Grip-Last", "")])
    return None if response is None else _http(response)


def _contents(backlog: Backlog) -> list[str]:
    return [str(written.entry.content) for written in backlog.entries]


def _answer(backlog: Backlog, events: Sequence[str]) -> Response:
    position = streams.format_id(backlog.positions)
    body = f'{{"id": "{position}", "events": [{", ".join(events)}]}}'
    headers = [("Content-Type", "application/json"), ("Cache-Control", _NO_STORE), ("ETag", f'"{position}"')]
    return Response(200, headers, body.encode())


def _unable(text: str) -> HttpResponse:
    return HttpResponse(text, status=501, content_type="text/plain; charset=utf-8")


def _http(response: Response) -> HttpResponse:
    return Held(response.body, status=response.status, headers=dict(response.headers))
