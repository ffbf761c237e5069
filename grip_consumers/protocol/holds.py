"""Holds: the headers that have the proxy keep an ordinary HTTP response open (GRIP).

`Grip-Hold: stream` leaves the body open for what is published; `Grip-Hold: response` keeps the whole response back
until one is published or the time is over. The other headers name the channels and say what the proxy does
meanwhile. (Source: Pushpin's "GRIP protocol" page; where it is silent, its behaviour was measured.)

What stands in them is checked here, since a line break would become another header, and a comma or semicolon
another channel or parameter.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from . import headers
from .checks import check_bytes, check_utf8, check_whole
from .errors import LocalProtocolError, RemoteProtocolError

__all__ = ["HEADER_MAX", "Channel", "Hold", "parse_last"]

#: Bytes of one of these headers. More than that no server in front of the proxy is sure to pass.
HEADER_MAX = 8_000

_has_separator = re.compile(r'[\x00-\x1f\x7f-\x9f,;"]').search
_has_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
#: RFC 3986 §2: unreserved, reserved and %.
_is_link = re.compile(r"[!#-;=?-\[\]_a-z~]+").fullmatch
#: What a keep-alive can say as it stands, but for the line breaks, which are written as in C.
_is_plain = re.compile(rb"(?! )[ \r\n!#-+\-.-:<-\[\]-~]+(?<! )").fullmatch


@dataclass(frozen=True)
class Channel:
    """A channel that a held response listens to.

    Args:
        name: without controls, `,`, `;` and `"`, and without spaces at its ends.
        prev_id: the id of the item that the client has got last: if the channel has moved on meanwhile, the proxy
            asks again at once.
        filters: names of the filters that each item has to pass, such as `skip-self`.

    Raises:
        LocalProtocolError: a part could not stand in a header, or would be read as something else.
    """

    name: str
    prev_id: str | None = None
    filters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_part(self.name, "a channel name")
        if self.prev_id is not None:
            _check_part(self.prev_id, "a previous id")
        headers.check_tokens(self.filters, "a filter name")

    def as_header(self) -> str:
        """The channel as `Grip-Channel` has it, its UTF-8 read as Latin-1."""
        parts = [self.name]
        if self.prev_id is not None:
            parts.append(f"prev-id={self.prev_id}")
        parts += [f"filter={name}" for name in self.filters]
        return "; ".join(parts).encode().decode("latin-1")


@dataclass(frozen=True)
class Hold:
    """What a response asks of the proxy.

    Args:
        mode: `"stream"`, `"response"` (long-polling), or `""` for a response that is not held.
        channels: what the client listens to.
        timeout: seconds after which a request held for a response gets this one. Pushpin waits for 5 at least,
            and for 55 unless told.
        keep_alive: bytes that the proxy adds to a stream that is silent for `keep_alive_timeout` seconds.
        next_link: where the proxy asks on: for the next part of a stream, and for what a client has missed. An
            absolute URI, or one relative to the request's; its `,` and `;` go out percent-encoded, since Pushpin
            (1.36) answers 502 to them.
        next_link_timeout: seconds of silence after which it asks there.
        meta: what filters compare, such as `{"user": "a"}`.
        status: the status for the client, if another than that of this response.

    Raises:
        LocalProtocolError: a value is of another type or out of range, or could not stand in a header, or a hold
            has no channel.
    """

    mode: Literal["stream", "response", ""]
    channels: Sequence[Channel]
    timeout: int | None = None
    keep_alive: bytes = b""
    keep_alive_timeout: int | None = None
    next_link: str = ""
    next_link_timeout: int | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in {"stream", "response", ""}:
            msg = f"expected the mode stream, response or none, got {self.mode!r:.60}"
            raise LocalProtocolError(msg)
        _check_channels(self.channels, self.mode)
        check_bytes(self.keep_alive, "the data of a keep-alive")
        _check_link(self.next_link)
        self._check_seconds()
        _check_meta(self.meta)
        if self.status is not None:
            check_whole(self.status, "a status", 200, 599)
        for name, value in self.headers():
            if len(value) > HEADER_MAX:
                msg = f"expected {name} of at most {HEADER_MAX} bytes, got {len(value)}"
                raise LocalProtocolError(msg)

    def _check_seconds(self) -> None:
        for seconds, what, of, what_of in (
            (self.timeout, "a timeout in seconds", self.mode, "a hold"),
            (self.keep_alive_timeout, "a keep-alive's seconds", self.keep_alive, "the data of a keep-alive"),
            (self.next_link_timeout, "a next link's seconds", self.next_link, "a next link"),
        ):
            if seconds is None:
                continue
            check_whole(seconds, what, 1)
            if not of:
                msg = f"expected {what_of} with {what}, got none"
                raise LocalProtocolError(msg)

    def headers(self) -> list[tuple[str, str]]:
        """The response headers. Values hold UTF-8 bytes read as Latin-1, as WSGI and Django have headers."""
        found: list[tuple[str, str]] = []
        if self.mode:
            found.append((headers.GRIP_HOLD, self.mode))
        if self.channels:
            found.append((headers.GRIP_CHANNEL, ", ".join(channel.as_header() for channel in self.channels)))
        if self.timeout is not None:
            found.append((headers.GRIP_TIMEOUT, str(self.timeout)))
        if self.keep_alive:
            found.append((headers.GRIP_KEEP_ALIVE, _keep_alive(self.keep_alive) + _seconds(self.keep_alive_timeout)))
        if self.next_link:
            found.append(
                (headers.GRIP_LINK, f"<{_unlisted(self.next_link)}>; rel=next{_seconds(self.next_link_timeout)}")
            )
        if self.meta:
            pairs = ", ".join(f'{name}="{_quoted(value)}"' for name, value in self.meta.items())
            found.append((headers.GRIP_SET_META, pairs.encode().decode("latin-1")))
        if self.status is not None:
            found.append((headers.GRIP_STATUS, str(self.status)))
        return found


def parse_last(values: Iterable[str]) -> dict[str, str]:
    """Return the last id of each channel that `Grip-Last` headers name.

    Args:
        values: the headers' values, `channel; last-id=ID, …` each, as UTF-8 read as Latin-1.

    Raises:
        RemoteProtocolError: a value is of another form, or names a channel twice.
    """
    found: dict[str, str] = {}
    for part in ",".join(values).split(","):
        name, separator, last = part.partition(";")
        key, equals, last_id = last.strip().partition("=")
        name, last_id = _utf8(name.strip()), _utf8(last_id)
        if not (name and separator and key == "last-id" and equals) or name in found or _has_separator(name + last_id):
            msg = f"expected Grip-Last as 'channel; last-id=ID' once for a channel, got {part!r:.60}"
            raise RemoteProtocolError(msg)
        found[name] = last_id
    return found


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        msg = f"expected Grip-Last in UTF-8, got {text!r:.60}"
        raise RemoteProtocolError(msg) from None


def _check_part(text: object, what: str) -> None:
    check_utf8(text, what)
    if not isinstance(text, str) or not text or text != text.strip() or _has_separator(text):
        msg = f"""expected {what} without controls, ',', ';', '"' and spaces at its ends, got {text!r:.60}"""
        raise LocalProtocolError(msg)


def _check_channels(channels: Sequence[object], mode: str) -> None:
    for channel in channels:
        if not isinstance(channel, Channel):
            msg = f"expected channels of type Channel, got {type(channel).__name__}"
            raise LocalProtocolError(msg)
    if mode and not channels:
        msg = f"expected a channel to hold a {mode} for, got none"
        raise LocalProtocolError(msg)


def _check_link(link: object) -> None:
    if link != "" and not (isinstance(link, str) and _is_link(link)):
        msg = f"expected a next link of the characters of a URI (RFC 3986), got {link!r:.60}"
        raise LocalProtocolError(msg)


def _check_meta(meta: Mapping[str, str]) -> None:
    for name, value in meta.items():
        headers.check_token(name, "a meta name")
        check_utf8(value, f"the meta value of {name}")
        if _has_control(value):
            msg = f"expected the meta value of {name} without controls, got {value!r:.60}"
            raise LocalProtocolError(msg)


def _keep_alive(data: bytes) -> str:
    if _is_plain(data):
        text = data.decode("ascii").replace("\r", "\\r").replace("\n", "\\n")
        return f"{text}; format=cstring"
    return f"{b64encode(data).decode('ascii')}; format=base64"


def _seconds(timeout: int | None) -> str:
    return "" if timeout is None else f"; timeout={timeout}"


def _unlisted(link: str) -> str:
    return link.replace(",", "%2C").replace(";", "%3B")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
