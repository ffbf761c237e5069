"""What a backend's response asks of the proxy: to hold it, to go on elsewhere, or nothing (GRIP, "Instructions").

Read from `Grip-*` headers or from a body of type `application/grip-instruct`, as leniently and as strictly as
Pushpin 1.36 was measured to do.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .handshake import Header, first_value

__all__ = ["Channel", "Instruct", "InstructError", "is_instructed", "read_instruct", "without_grip"]

#: Seconds after which a held response is given, and those of a keep-alive, where none are given.
DEFAULT_TIMEOUT = 55
#: A held response is not given sooner than this, whatever Grip-Timeout says.
MINIMUM_TIMEOUT = 5
#: Seconds of silence after which the next link is followed where none are given.
DEFAULT_LINK_TIMEOUT = 120

_CONTENT_TYPE = b"application/grip-instruct"
_GRIP = b"grip-"
_MODES = frozenset({"response", "stream"})
#: One parameter of a header: up to a comma or semicolon, which may stand in quotes.
_PART = re.compile(r'((?:[^",;]|"(?:[^"\\]|\\.)*")*)([,;]?)')
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.?))", re.DOTALL)


class InstructError(Exception):
    """The response cannot be carried out; the text says why. The client gets 502."""


@dataclass(frozen=True)
class Channel:
    """A channel to listen to, the id of the item that the client has already, and names of filters."""

    name: str
    prev_id: str | None = None
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instruct:
    """One response to carry out.

    Args:
        mode: `stream`, `response`, or nothing for a response that only has a next link.
        status, reason, headers, body: the response for the client: at once (stream), or at the timeout (response).
        channels: what to listen to.
        timeout: seconds until a held response is given.
        keep_alive: bytes to send into a stream, every `keep_alive_timeout` seconds.
        keep_alive_idle: whether what is sent begins the interval anew.
        link: where to go on, empty for nowhere; `link_timeout` seconds of silence are long enough to ask there.
        meta: what filters compare and content filters insert.
    """

    mode: str
    status: int
    headers: list[Header]
    body: bytes
    reason: str = ""
    channels: tuple[Channel, ...] = ()
    timeout: int = DEFAULT_TIMEOUT
    keep_alive: bytes = b""
    keep_alive_timeout: int | None = None
    keep_alive_idle: bool = True
    link: str = ""
    link_timeout: int | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


def is_instructed(headers: Iterable[Header]) -> bool:
    """Whether a response asks for anything, as far as its headers say."""
    names = {name.lower(): value for name, value in headers}
    content_type = names.get(b"content-type", b"").partition(b";")[0].strip()
    return b"grip-hold" in names or b"grip-link" in names or content_type == _CONTENT_TYPE


def without_grip(headers: Iterable[Header]) -> list[Header]:
    """Return the headers that a client may see."""
    return [(name, value) for name, value in headers if not name.lower().startswith(_GRIP)]


def read_instruct(status: int, headers: list[Header], body: bytes) -> Instruct:
    """Return what a response asks for. Raises InstructError if it is malformed."""
    found = _from_headers(status, headers, body)
    content_type = first_value(headers, b"content-type") or b""
    if content_type.partition(b";")[0].strip() == _CONTENT_TYPE:
        found |= _from_body(status, body)
    return Instruct(**found)


# --- headers ---


def _from_headers(status: int, headers: list[Header], body: bytes) -> dict[str, Any]:
    mode = _text(first_value(headers, b"grip-hold") or b"")
    if mode and mode not in _MODES:
        raise InstructError(f"expected Grip-Hold to be response or stream, got {mode!r:.60}")
    found: dict[str, Any] = {
        "mode": mode,
        "status": status,
        "headers": [item for item in without_grip(headers) if item[0].lower() != b"content-length"],
        "body": body,
        "channels": tuple(_channel(*parts) for parts in _parameters(headers, b"grip-channel", of=True)),
        "meta": {name: value or "" for parts in _parameters(headers, b"grip-set-meta") for name, value in parts},
    }
    timeout = first_value(headers, b"grip-timeout")
    if timeout is not None:
        found["timeout"] = max(_number(_text(timeout), "Grip-Timeout"), MINIMUM_TIMEOUT)
    found |= _keep_alive(headers) | _link(headers)
    given = _text(first_value(headers, b"grip-status") or b"")
    if given:
        code, _, reason = given.partition(" ")
        found |= {"status": _status(_number(code, "Grip-Status")), "reason": reason}
    return found


def _parameters(headers: Iterable[Header], name: bytes, *, of: bool = False) -> list[list[tuple[str, str | None]]]:
    """Return the parameters of each element of all headers of that name, values without quotes.

    With `of` an element begins with what its parameters are of: it stands first, as it is, equals signs and all.
    """
    elements: list[list[tuple[str, str | None]]] = []
    for key, value in headers:
        if key.lower() == name:
            elements += _elements(_text(value), of=of)
    return elements


def _elements(text: str, *, of: bool) -> list[list[tuple[str, str | None]]]:
    elements: list[list[tuple[str, str | None]]] = [[]]
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or part.end() == position:
            raise InstructError(f"expected a header of parameters, got {text!r:.60}")
        name, equals, value = (part[1], "", "") if of and not elements[-1] else part[1].partition("=")
        elements[-1].append((name.strip(), _unquoted(value.strip()) if equals else None))
        if part[2] == ",":
            elements.append([])
        position = part.end()
    return [element for element in elements if element]


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _channel(first: tuple[str, str | None], *others: tuple[str, str | None]) -> Channel:
    given = dict(reversed(others))
    filters = tuple(value for name, value in others if name == "filter" and value)
    return Channel(first[0], given.get("prev-id"), filters)


def _keep_alive(headers: list[Header]) -> dict[str, Any]:
    elements = _parameters(headers, b"grip-keep-alive", of=True)
    if not elements:
        return {}
    (text, _), *others = elements[0]
    given = dict(others)
    mode = given.get("mode") or "idle"
    if mode not in {"idle", "interval"}:
        raise InstructError(f"expected the mode of Grip-Keep-Alive to be idle or interval, got {mode!r:.60}")
    return {
        "keep_alive": _decoded(text, given.get("format") or "raw"),
        "keep_alive_timeout": _number(given.get("timeout"), "the timeout of Grip-Keep-Alive", DEFAULT_TIMEOUT),
        "keep_alive_idle": mode == "idle",
    }


def _decoded(text: str, form: str) -> bytes:
    if not text:
        raise InstructError("expected Grip-Keep-Alive to begin with its data")
    data = text.encode()
    if form == "raw":
        return data
    if form == "cstring":
        return _ESCAPE.sub(_unescaped, data)
    if form == "base64":
        return _from_base64(text, "the data of Grip-Keep-Alive")
    raise InstructError(f"expected the format of Grip-Keep-Alive to be raw, cstring or base64, got {form!r:.60}")


def _unescaped(escape: re.Match[bytes]) -> bytes:
    if escape[1]:
        return bytes.fromhex(escape[1].decode())
    if escape[2] in {b"", b"x"}:
        raise InstructError("expected a cstring to escape with \\\\, \\r, \\n and \\xHH only")
    # Escapes that it does not know, Pushpin leaves out.
    return {b"\\": b"\\", b"r": b"\r", b"n": b"\n"}.get(escape[2], b"")


def _link(headers: list[Header]) -> dict[str, Any]:
    for (target, _), *others in _parameters(headers, b"grip-link", of=True):
        given = dict(others)
        if given.get("rel") != "next":
            continue
        if len(target) < 3 or not (target.startswith("<") and target.endswith(">")):
            raise InstructError(f"expected Grip-Link as <URI>; rel=next, got {target!r:.60}")
        seconds = _number(given.get("timeout"), "the timeout of Grip-Link", DEFAULT_LINK_TIMEOUT)
        return {"link": target[1:-1], "link_timeout": seconds}
    return {}


# --- application/grip-instruct ---


def _from_body(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        raise InstructError(f"expected application/grip-instruct with status 200, got {status}")
    try:
        document = json.loads(body)
    except ValueError:
        raise InstructError("expected application/grip-instruct to be JSON") from None
    found: dict[str, Any] = {"headers": [], "body": b""}
    if not isinstance(document, dict):
        raise InstructError("expected application/grip-instruct to be an object")
    if "hold" in document:
        found |= _hold(_object(document, "hold"))
    if "response" in document:
        found |= _response(_object(document, "response"))
    return found


def _hold(hold: dict[str, Any]) -> dict[str, Any]:
    mode = hold.get("mode", "response")
    channels = hold.get("channels")
    if mode not in _MODES or not isinstance(channels, list):
        raise InstructError("expected hold with the mode response or stream and a list of channels")
    found: dict[str, Any] = {"mode": mode, "channels": tuple(map(_named_channel, channels))}
    if "timeout" in hold:
        found["timeout"] = max(_number(hold["timeout"], "timeout"), MINIMUM_TIMEOUT)
    if "meta" in hold:
        meta = _object(hold, "meta")
        found["meta"] = {name: str(value) for name, value in meta.items()}
    if "keep-alive" in hold:
        given = _object(hold, "keep-alive")
        found["keep_alive"] = _content(given, "content")
        found["keep_alive_timeout"] = _number(given.get("timeout"), "the timeout of keep-alive", DEFAULT_TIMEOUT)
    return found


def _named_channel(entry: object) -> Channel:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InstructError(f"expected channels to be objects with a name, got {entry!r:.60}")
    prev_id, filters = entry.get("prev-id"), entry.get("filters", [])
    if not isinstance(prev_id, (str, type(None))) or not isinstance(filters, list):
        raise InstructError(f"expected a channel's prev-id as a text and its filters as a list, got {entry!r:.60}")
    return Channel(entry["name"], prev_id, tuple(map(str, filters)))


def _response(response: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"headers": _header_list(response.get("headers", {})), "body": _content(response, "body")}
    if "code" in response:
        found |= {"status": _status(_number(response["code"], "code")), "reason": str(response.get("reason", ""))}
    return found


def _header_list(given: object) -> list[Header]:
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list):
        raise InstructError("expected headers as an object or a list of pairs")
    found: list[Header] = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InstructError("expected headers as an object or a list of pairs")
        found.append((str(pair[0]).encode(), str(pair[1]).encode()))
    return found


def _content(holder: dict[str, Any], name: str) -> bytes:
    if f"{name}-bin" in holder:
        return _from_base64(holder[f"{name}-bin"], f"{name}-bin")
    return str(holder.get(name, "")).encode()


# --- values ---


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    value = holder[name]
    if not isinstance(value, dict):
        raise InstructError(f"expected {name} to be an object")
    return value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()


def _number(value: object, what: str, default: int | None = None) -> int:
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).isdecimal():
        raise InstructError(f"expected {what} to be a whole number, got {value!r:.60}")
    return int(value)


def _status(code: int) -> int:
    if not 100 <= code <= 999:
        raise InstructError(f"expected a status of three digits, got {code}")
    return code


def _from_base64(text: object, what: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise InstructError(f"expected {what} in base64") from None
