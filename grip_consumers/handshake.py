"""The HTTP request that brings a batch, whichever interface it came by, and the WebSocket scope behind it.

The proxy repeats the client's handshake with every batch and adds headers of its own. What the application sees is
the scope that an ASGI server would have made of the handshake alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from grip_consumers.protocol import CONTENT_TYPE
from grip_consumers.types import Scope

__all__ = [
    "ENDED",
    "STATE_META",
    "UNROUTED",
    "VIEW_META",
    "BatchRequest",
    "environ_headers",
    "environ_parts",
    "from_asgi",
    "from_wsgi",
    "is_batch_environ",
    "is_batch_scope",
    "is_handshake_environ",
]

#: The name of the meta value in which the proxy keeps a connection's sealed state.
STATE_META = "State"

#: The same for a connection that views answer: by its presence it is known that no consumer does.
VIEW_META = "View-State"

#: What the proxy keeps in place of a state when we are done, but the client has yet to answer our close.
ENDED = "ended"

#: The key of an `http` scope or environ that says: no websocket route matches, do not look again.
UNROUTED = "grip_consumers.unrouted"

#: Headers that the proxy adds to the client's own.
_OF_THE_PROXY = frozenset(
    {b"connection-id", b"grip-sig", b"grip-feature", b"content-type", b"content-length", b"sec-websocket-extensions"}
)


@dataclass(frozen=True)
class BatchRequest:
    """What the dispatcher needs of a request. `make_scope` builds a new WebSocket scope each time it is called."""

    connection_id: str
    signature: str | None
    #: The sealed state that the proxy handed back; None when it keeps none.
    state: str | None
    body: bytes
    path: str
    make_scope: Callable[[], Scope]
    #: What the proxy says it can do (Grip-Feature), such as `filter:skip-users`.
    features: frozenset[str] = frozenset()
    #: As `state`, of a connection that views answer.
    view_state: str | None = None
    query: str = ""

    @property
    def identity(self) -> str:
        """What a state is sealed for: the connection, and the URL that it was opened at.

        A client that gets a post of its own past a proxy names the connection itself, and might take a state from
        one URL to another.
        """
        return f"{self.connection_id} {self.path}?{self.query}"


def is_batch_scope(scope: Mapping[str, Any]) -> bool:
    """Whether an ASGI `http` scope carries a batch: a POST with exactly one, exactly right content type.

    A proxy refuses a client's own post of that type only when it is spelled like this, so nothing else may pass.
    """
    if scope["method"] != "POST":
        return False
    found = [value for name, value in scope["headers"] if name == b"content-type"]
    return found == [_CONTENT_TYPE]


def is_batch_environ(environ: Mapping[str, Any]) -> bool:
    """Whether a WSGI request carries a batch that nobody has looked at yet.

    Some servers keep only the last of repeated headers, so a doubled content type, with which a client can make the
    proxy sign a post of its own, may pass here. Nothing that such a post says is trusted without the seal.
    """
    return (
        environ.get("CONTENT_TYPE") == CONTENT_TYPE and environ["REQUEST_METHOD"] == "POST" and UNROUTED not in environ
    )


def is_handshake_environ(environ: Mapping[str, Any]) -> bool:
    """Whether a client asks for a WebSocket itself (RFC 6455 §4.1): no proxy does."""
    return str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket"


_CONTENT_TYPE = CONTENT_TYPE.encode("ascii")


def from_asgi(scope: Mapping[str, Any], body: bytes) -> BatchRequest:
    """The batch in an ASGI `http` request."""
    wanted = {b"connection-id": "", b"grip-sig": None, b"meta-state": None, b"grip-feature": ""}
    wanted[b"meta-view-state"] = None
    for name, value in scope["headers"]:
        if name in wanted:
            # A repeated header is joined, so that it can only fail to verify or to open.
            text, before = value.decode("latin-1"), wanted[name]
            wanted[name] = f"{before},{text}" if before else text
    return BatchRequest(
        connection_id=wanted[b"connection-id"] or "",
        signature=wanted[b"grip-sig"],
        state=wanted[b"meta-state"],
        body=body,
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        make_scope=lambda: _websocket_scope(scope, _client_headers(scope["headers"])),
        features=_features(wanted[b"grip-feature"] or ""),
        view_state=wanted[b"meta-view-state"],
    )


def from_wsgi(environ: Mapping[str, Any], body: bytes, *, decoded: bool = False) -> BatchRequest:
    """The batch in a WSGI request. `decoded`: Django has been there, and has put text in place of the path's bytes."""
    return BatchRequest(
        connection_id=environ.get("HTTP_CONNECTION_ID", ""),
        signature=environ.get("HTTP_GRIP_SIG"),
        state=environ.get("HTTP_META_STATE"),
        body=body,
        path="".join(_paths(environ, decoded)),
        query=environ.get("QUERY_STRING", ""),
        make_scope=lambda: _websocket_scope(environ_parts(environ, decoded), _client_headers(environ_headers(environ))),
        features=_features(environ.get("HTTP_GRIP_FEATURE", "")),
        view_state=environ.get("HTTP_META_VIEW_STATE"),
    )


@lru_cache(maxsize=64)
def _features(header: str) -> frozenset[str]:
    return frozenset(name.strip() for name in header.split(",") if name.strip())


def _client_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, value in headers
        if name not in _OF_THE_PROXY
        and not name.startswith(b"meta-")
        # The proxy says what it accepts itself; a client's own is another value.
        and (name, value) != (b"accept", _CONTENT_TYPE)
    ]


def _websocket_scope(http: Mapping[str, Any], headers: list[tuple[bytes, bytes]]) -> Scope:
    scope = {
        "type": "websocket",
        "asgi": http.get("asgi", {"version": "3.0", "spec_version": "2.3"}),
        "http_version": http.get("http_version", "1.1"),
        "scheme": _SCHEMES.get(http.get("scheme", "http"), "ws"),
        "server": http.get("server"),
        "client": http.get("client"),
        "root_path": http.get("root_path", ""),
        "path": http["path"],
        "raw_path": http.get("raw_path"),
        "query_string": http.get("query_string", b""),
        "headers": headers,
        "subprotocols": _subprotocols(headers),
        "extensions": {"websocket.http.response": {}},
    }
    if "state" in http:
        scope["state"] = http["state"]
    return scope


_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def _subprotocols(headers: list[tuple[bytes, bytes]]) -> list[str]:
    offered = b",".join(value for name, value in headers if name == b"sec-websocket-protocol")
    return [name.strip() for name in offered.decode("latin-1").split(",") if name.strip()]


def environ_parts(environ: Mapping[str, Any], decoded: bool) -> dict[str, Any]:
    """What an ASGI scope says of a request beside method and headers (PEP 3333: text is bytes read as latin-1).

    `decoded`: Django has been there, and has put text in place of the path's bytes.
    """
    root, path = _paths(environ, decoded)
    path = root + path
    return {
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").rpartition("/")[2],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "server": (environ.get("SERVER_NAME", ""), _port(environ.get("SERVER_PORT"))),
        "client": (environ["REMOTE_ADDR"], _port(environ.get("REMOTE_PORT"))) if environ.get("REMOTE_ADDR") else None,
        "root_path": root,
        "path": path,
        "raw_path": quote(path).encode("ascii"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
    }


def _paths(environ: Mapping[str, Any], decoded: bool) -> tuple[str, str]:
    """Where the application is mounted, and the path behind that."""
    root, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "") or "/"
    return (root, path) if decoded else (_text(root), _text(path))


def _port(value: str | None) -> int:
    # Some servers take it from the Host header, where a client may write anything.
    return int(value) if value and value.isdecimal() else 0


def _text(value: str) -> str:
    return value.encode("latin-1").decode("utf-8", "replace")


def environ_headers(environ: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """The headers of a WSGI request, as a scope has them, but for those about its body."""
    return [
        (key[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]
