"""Holds, channels and publishing in plain Django views, with the API of django-grip.

    def events(request):
        response = HttpResponse("hello\\n", content_type="text/plain")
        set_hold_stream(request, "news")
        return response

    publish("news", HttpStreamFormat("something has happened\\n"))

GripMiddleware gives each request its `grip`, and carries out on the response what was asked for there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import isawaitable
from typing import Any, Literal

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control

from grip_consumers import conf, protocol
from grip_consumers.conf import Settings
from grip_consumers.protocol import Hold, parse_last
from grip_consumers.protocol.checks import check_whole
from grip_consumers.verification import is_signed

from .publishing import get_pubcontrol, publish
from .wscontext import ClientDisconnected, WebSocketContext

__all__ = [
    "Channel",
    "ClientDisconnected",
    "GripData",
    "GripInstruct",
    "WebSocketContext",
    "carry_out",
    "get_pubcontrol",
    "publish",
    "read_grip",
    "set_hold_longpoll",
    "set_hold_stream",
    "websocket_only",
]


class Channel:
    """A channel to listen to; gripcontrol's Channel, or anything with these attributes, will do as well."""

    def __init__(self, name: str, prev_id: str | int | None = None, filters: Iterable[str] = ()) -> None:
        self.name = name
        self.prev_id = prev_id
        self.filters = list(filters)


class GripInstruct:
    """What a response asks of the proxy. Its attributes may be changed until the response has gone.

    Attributes:
        hold: `"stream"`, `"response"`, or `""` for no hold.
        channels: objects with `name`, `prev_id` and `filters`, names without GRIP_PREFIX.
        timeout: seconds after which a request held for a response gets this one; 0 for the proxy's default.
        keep_alive, keep_alive_timeout: what a silent stream gets, and after how many seconds.
        next_link, next_link_timeout: where the proxy asks on, and after how many silent seconds.
        meta: what filters compare, such as `{"user": "a"}`.
        status: the status for the client, if another than the response's own.
    """

    def __init__(self) -> None:
        self.hold: Literal["stream", "response", ""] = ""
        self.channels: list[Any] = []
        self.timeout = 0
        self.keep_alive: str | bytes = b""
        self.keep_alive_timeout = 0
        self.next_link = ""
        self.next_link_timeout = 0
        self.meta: dict[str, str] = {}
        self.status: int | None = None

    def add_channel(self, channel: Any) -> None:
        """Listen to a channel: a name, or an object with `name`, `prev_id` and `filters`.

        Raises LocalProtocolError, a ValueError, for what would corrupt a header.
        """
        found = Channel(channel) if isinstance(channel, str) else channel
        _as_channel(found, "")
        self.channels.append(found)

    def add_channels(self, channels: Any) -> None:
        """Listen to one channel or several."""
        for channel in _several(channels):
            self.add_channel(channel)

    def set_hold_longpoll(self, timeout: float | None = None) -> None:
        """Keep the response back until one is published, or `timeout` seconds are over: 5 at least, 55 by default."""
        self.timeout = _seconds(timeout, self.timeout)
        self.hold = "response"

    def set_hold_stream(self) -> None:
        """Leave the response open for what is published."""
        self.hold = "stream"

    def set_keep_alive(self, data: str | bytes, timeout: float) -> None:
        """Have a stream get `data` whenever it was silent for `timeout` seconds."""
        _bytes(data)
        self.keep_alive_timeout = _seconds(timeout, 0)
        self.keep_alive = data

    def set_next_link(self, uri: str, timeout: float | None = None) -> None:
        """Have the proxy ask on at `uri`: for the next part of a stream, and for what was missed.

        Raises LocalProtocolError, a ValueError, for one that is no URI.
        """
        Hold("", (), next_link=uri)
        self.next_link_timeout = _seconds(timeout, self.next_link_timeout)
        self.next_link = uri

    def as_hold(self, settings: Settings, *, status: int | None = None) -> Hold:
        """The checked value. Raises LocalProtocolError, a ValueError."""
        limit = settings.subscription_limit
        if len(self.channels) > limit:
            raise ValueError(
                f"expected at most {limit} channels (GRIP_SUBSCRIPTION_LIMIT), got {len(self.channels)}: the proxy "
                "would ignore the rest without a word"
            )
        streaming = self.hold == "stream"
        return Hold(
            self.hold,
            [_as_channel(channel, settings.prefix) for channel in self.channels],
            timeout=(self.timeout or None) if self.hold else None,
            keep_alive=_bytes(self.keep_alive) if streaming else b"",
            keep_alive_timeout=(self.keep_alive_timeout or None) if streaming and self.keep_alive else None,
            next_link=self.next_link,
            next_link_timeout=(self.next_link_timeout or None) if self.next_link else None,
            meta=self.meta,
            status=self.status or status,
        )


class GripData:
    """What the proxy says in a request, and `instruct`, which it is told with the response.

    Attributes:
        proxied: whether a proxy has sent the request: signed it, or, where no key is configured to know that by,
            claims so.
        signed: whether a configured key has signed it.
        features: what the proxy says it can do, such as `link:next`.
        last: channel → id of the last item that the client got, with a request for what it missed.
        instruct: the GripInstruct that was started, or None.
    """

    def __init__(
        self, *, proxied: bool = False, signed: bool = False, features: Iterable[str] = (), last: Mapping[str, str] = {}
    ) -> None:
        self.proxied = proxied
        self.signed = signed
        self.features = set(features)
        self.last = dict(last)
        self.instruct: GripInstruct | None = None

    def start_instruct(self) -> GripInstruct:
        """Begin to tell the proxy something with the response. Raises ValueError for a second time."""
        if self.instruct is not None:
            raise ValueError("GRIP instruct already started")
        self.instruct = GripInstruct()
        return self.instruct


def read_grip(request: HttpRequest) -> GripData:
    """What the headers of a request say. Raises RemoteProtocolError for a malformed Grip-Last."""
    signature = request.META.get("HTTP_GRIP_SIG")
    features = request.META.get("HTTP_GRIP_FEATURE", "")
    last = request.META.get("HTTP_GRIP_LAST")
    signed = proxied = False
    if signature:
        settings = conf.get()
        signed = is_signed(signature, settings)
        proxied = signed or not all(proxy.verify_key for proxy in settings.proxies or ())
    return GripData(
        proxied=proxied,
        signed=signed,
        features=filter(None, map(str.strip, features.split(","))),
        last=parse_last([last]) if last else {},
    )


def set_hold_longpoll(request: HttpRequest | HttpResponseBase, channels: Any, timeout: float | None = None) -> None:
    """Have the proxy keep the response back until one is published to a channel.

    Args:
        request: the request. The response itself will do, as in django-grip's first releases.
        channels: a name, an object with `name`, `prev_id` and `filters`, or anything that yields several of these.
        timeout: seconds after which the client gets this response.

    Raises:
        ValueError: a channel or the timeout cannot be, or the request has a hold already. Nothing is held then.
    """
    instruct = GripInstruct()
    instruct.add_channels(channels)
    instruct.set_hold_longpoll(timeout)
    _hold(request, instruct)


def set_hold_stream(
    request: HttpRequest | HttpResponseBase,
    channels: Any,
    keep_alive_data: str | bytes | None = None,
    keep_alive_timeout: float | None = None,
) -> None:
    """Have the proxy leave the response open for what is published to a channel.

    Args:
        request, channels: as for `set_hold_longpoll`.
        keep_alive_data: what a silent stream gets, any bytes or text.
        keep_alive_timeout: after how many seconds.

    Raises:
        ValueError: as for `set_hold_longpoll`, or for keep-alive data without a timeout.
    """
    instruct = GripInstruct()
    instruct.add_channels(channels)
    instruct.set_hold_stream()
    if keep_alive_data:
        if not keep_alive_timeout:
            raise ValueError("expected keep_alive_timeout with keep_alive_data, got none")
        instruct.set_keep_alive(keep_alive_data, keep_alive_timeout)
    _hold(request, instruct)


def _hold(target: HttpRequest | HttpResponseBase, instruct: GripInstruct) -> None:
    hold = instruct.as_hold(conf.get())
    if isinstance(target, HttpResponseBase):
        _write(target, hold)
        target.headers.setdefault(_CONTENT_ENCODING, _UNPACKED)
        patch_cache_control(target, private=True)
        return
    data: GripData | None = getattr(target, "grip", None)
    if data is None:
        raise ImproperlyConfigured(_NO_MIDDLEWARE)
    if data.instruct is not None:
        raise ValueError("GRIP instruct already started")
    data.instruct = instruct
    # What is published follows unpacked: GZipMiddleware must not pack the beginning.
    target.META.pop("HTTP_ACCEPT_ENCODING", None)
    # Django's cache middleware asks this of the request: what it kept, it would give to others without a hold.
    target._cache_update_cache = False  # type: ignore[attr-defined]


#: What keeps GZipMiddleware off a response; the proxy need not see it.
_CONTENT_ENCODING, _UNPACKED = "Content-Encoding", "identity"
_NO_MIDDLEWARE = "The request has no GRIP data. Put 'grip_consumers.GripMiddleware' first in MIDDLEWARE."


def carry_out(data: GripData, response: HttpResponseBase) -> HttpResponseBase:
    """The response with what `data.instruct` asks of the proxy; 501 in its place where one is required and missing.

    Raises LocalProtocolError, a ValueError, for an instruct that cannot be.
    """
    settings = conf.get()
    if data.instruct is not None:
        _write(response, data.instruct.as_hold(settings))
    if not _is_instructed(response):
        return response
    if response.headers.get(_CONTENT_ENCODING) == _UNPACKED:
        del response.headers[_CONTENT_ENCODING]
    if settings.proxy_required and not data.proxied:
        response.close()
        return HttpResponse("Not Implemented\n", status=501, content_type="text/plain; charset=utf-8")
    if response.status_code == _NOT_MODIFIED and _HOLD in response.headers:
        # A server may take other headers than its own off a 304.
        response.status_code, response.reason_phrase = 200, "OK"
        response.headers.setdefault(protocol.headers.GRIP_STATUS, str(_NOT_MODIFIED))
    return response


_NOT_MODIFIED = 304
_HOLD = protocol.headers.GRIP_HOLD


def _is_instructed(response: HttpResponseBase) -> bool:
    """Whether anything in it is meant for a proxy, by headers or by the type of its body."""
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return content_type == _INSTRUCT_TYPE or any(name.lower().startswith("grip-") for name in response.headers)


_INSTRUCT_TYPE = "application/grip-instruct"


def _write(response: HttpResponseBase, hold: Hold) -> None:
    for name, value in hold.headers():
        response.headers[name] = value


def websocket_only(view: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for views, sync or async, of WebSockets alone: other requests get a 400, and it may return None."""
    if iscoroutinefunction(view):

        @wraps(view)
        async def answer(*args: Any, **kwargs: Any) -> Any:
            return _refusal(args) or await _awaited(view(*args, **kwargs))

    else:

        @wraps(view)
        def answer(*args: Any, **kwargs: Any) -> Any:
            return _refusal(args) or _or_empty(view(*args, **kwargs))

    answer.websocket_only = True  # type: ignore[attr-defined]
    return answer


def _or_empty(result: Any) -> Any:
    if isawaitable(result):
        # What a method of an async class-based view returns.
        return _awaited(result)
    return HttpResponse() if result is None else result


async def _awaited(result: Awaitable[Any]) -> Any:
    return _or_empty(await result)


def _refusal(args: Sequence[Any]) -> HttpResponse | None:
    # The first argument, or the one behind a method's `self`.
    request: Any = next((found for found in args[:2] if hasattr(found, "META")), None)
    if not hasattr(request, "wscontext"):
        raise ImproperlyConfigured(_NO_MIDDLEWARE)
    if request.wscontext is None:
        return HttpResponseBadRequest("Request must contain WebSocket events.\n", content_type="text/plain")
    return None


def _several(channels: Any) -> Iterable[Any]:
    one = isinstance(channels, (str, bytes)) or hasattr(channels, "name") or not isinstance(channels, Iterable)
    return [channels] if one else channels


def _as_channel(channel: Any, prefix: str) -> protocol.Channel:
    try:
        name, prev_id, filters = channel.name, channel.prev_id, tuple(channel.filters)
    except AttributeError:
        raise TypeError(
            f"expected a channel as a str or an object with name, prev_id and filters, got {type(channel).__name__}"
        ) from None
    if isinstance(prev_id, int):
        # Ids of a database's.
        prev_id = str(prev_id)
    return protocol.Channel(prefix + name if isinstance(name, str) else name, prev_id or None, filters)


def _seconds(value: float | None, default: int) -> int:
    return check_whole(int(value), "a timeout in seconds", 1) if value else default


def _bytes(data: object) -> bytes:
    if isinstance(data, str):
        return data.encode()
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"expected keep-alive data of type str or bytes, got {type(data).__name__}")
    return bytes(data)
