"""Pushpin's command socket: a ZeroMQ socket beside the control port that takes requests as tnetstrings.

It refreshes the members of a channel one after the other, so that none of its queues runs over, and does so in
versions whose publish endpoint does not take refreshes. The packages for it (the extra `zmq`) may be missing.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import zmq

__all__ = ["CommandError", "CommandSocket", "is_installed"]

#: Seconds that a plain connection may take, before ZeroMQ is asked to, which would try for ever without a word.
_CONNECT_PATIENCE = 0.5
#: A request that takes long is waited for as long as the proxy answers others: this many times the timeout.
_PATIENCE = 12
#: Seconds between two signs of life on an idle connection: what stands between may forget it without a word.
_HEARTBEAT = 15
#: A request by which nothing happens.
_HARMLESS = "get-zmq-uris"


class CommandError(Exception):
    """A request to a command socket was not carried out; the text says why."""


def is_installed() -> bool:
    """Whether the packages for it can be imported."""
    try:
        import tnetstring  # noqa: F401
        import zmq  # noqa: F401
    except ImportError:
        return False
    return True


class CommandSocket:
    """The command socket of one proxy, for any number of threads, in the process that made this object.

    A ZeroMQ socket answers one request at a time, so there are as many as requests under way; they are kept.

    Args:
        uri: `tcp://HOST:PORT` or `ipc://PATH`.
    """

    def __init__(self, uri: str) -> None:
        import zmq

        self._uri = uri
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._idle: list[_Connection] = []
        self._numbers = itertools.count(1)

    def probe(self, timeout: float) -> None:
        """Return if a Pushpin answers in `timeout` seconds, and raise CommandError otherwise."""
        self._call(_HARMLESS, {}, timeout, patience=1)

    def refresh(self, channel: str, timeout: float) -> None:
        """Have the proxy call back for every subscriber of `channel`; return when it has begun to for each.

        Raises CommandError, also when the proxy has answered nothing at all for `timeout` seconds.
        """
        self._call("refresh", {"channel": channel}, timeout, patience=_PATIENCE)

    def close(self) -> None:
        """Close all sockets; none may be in use."""
        while self._idle:
            self._idle.pop().close()
        self._context.term()

    def _call(self, method: str, args: Mapping[str, str], timeout: float, *, patience: int) -> None:
        request = self._request(method, args)
        for again in (False, True):
            connection = self._connection(timeout)
            try:
                reply = self._exchange(connection, request, timeout, patience)
            except _LostError:
                # The proxy was restarted meanwhile: a refresh that comes twice does no harm.
                connection.close()
                if again:
                    raise
            except BaseException:
                # A reply may still come, which would be taken for that to another request.
                connection.close()
                raise
            else:
                self._idle.append(connection)
                return _check(reply)
        return None

    def _request(self, method: str, args: Mapping[str, str]) -> bytes:
        import tnetstring

        document: dict[bytes, Any] = {b"id": b"%d" % next(self._numbers), b"method": method.encode()}
        if args:
            document[b"args"] = {name.encode(): value.encode() for name, value in args.items()}
        return bytes(tnetstring.dumps(document))

    def _connection(self, timeout: float) -> _Connection:
        while self._idle:
            with contextlib.suppress(IndexError):  # Another thread was quicker.
                connection = self._idle.pop()
                if not connection.lost():
                    return connection
                connection.close()
        return _Connection(self._context, _address(self._uri, min(_CONNECT_PATIENCE, timeout)))

    def _exchange(self, connection: _Connection, request: bytes, timeout: float, patience: int) -> bytes:
        connection.send(request, timeout)
        for _ in range(patience - 1):
            reply = connection.receive(timeout)
            if reply is not None:
                return reply
            self.probe(timeout)
        reply = connection.receive(timeout)
        if reply is None:
            raise CommandError(f"no reply within {timeout * patience:g} s")
        return reply


class _LostError(CommandError):
    """The connection is gone, and the reply with it."""


class _Connection:
    """One REQ socket, and an eye on its connection: ZeroMQ by itself would wait for a reply that was lost."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        import zmq

        self._zmq = zmq
        self._socket = context.socket(zmq.REQ)
        for option, value in {
            zmq.LINGER: 0,
            # Nothing is queued for a connection that does not exist.
            zmq.IMMEDIATE: 1,
            zmq.IPV6: int("[" in address),
            zmq.HEARTBEAT_IVL: _HEARTBEAT * 1000,
            zmq.HEARTBEAT_TIMEOUT: _HEARTBEAT * 1000,
        }.items():
            self._socket.setsockopt(option, value)
        self._events = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._events, zmq.POLLIN)
        self._socket.connect(address)

    def lost(self) -> bool:
        """Whether the connection has ended since it was made."""
        return bool(self._events.poll(0))

    def send(self, request: bytes, timeout: float) -> None:
        """Raises CommandError if there is no connection to send on within `timeout` seconds."""
        self._socket.setsockopt(self._zmq.SNDTIMEO, _milliseconds(timeout))
        try:
            self._socket.send(request)
        except self._zmq.ZMQError as error:
            raise CommandError(f"no ZeroMQ connection within {timeout:g} s ({error})") from None

    def receive(self, timeout: float) -> bytes | None:
        """The reply, or None if none has come in `timeout` seconds. Raises _LostError."""
        ready = dict(self._poller.poll(_milliseconds(timeout)))
        if self._socket in ready:
            return self._socket.recv()
        if ready:
            raise _LostError("the connection was closed before the reply came")
        return None

    def close(self) -> None:
        self._socket.disable_monitor()
        self._events.close(0)
        self._socket.close(0)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _address(uri: str, timeout: float) -> str:
    """Where ZeroMQ is to connect: the address behind `uri` at which somebody listens. Raises CommandError."""
    parts = urlsplit(uri)
    try:
        if parts.scheme == "tcp":
            # ZeroMQ would try the first of a name's addresses only.
            with socket.create_connection((parts.hostname or "", parts.port or 0), timeout) as probe:
                host, port = probe.getpeername()[:2]
                return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout)
            probe.connect(
                uri.removeprefix("ipc://").replace("@", "\0", 1) if "://@" in uri else uri.removeprefix("ipc://")
            )
            return uri
    except OSError as error:
        raise CommandError(f"{type(error).__name__}: {error}") from None


def _check(reply: bytes) -> None:
    """Raise CommandError unless `reply` reports success."""
    import tnetstring

    try:
        document = tnetstring.loads(reply)
    except ValueError:
        document = None
    if not isinstance(document, dict) or b"success" not in document:
        raise CommandError(f"expected the reply of a command socket, got {reply[:80]!r}")
    if document[b"success"] is not True:
        condition = document.get(b"condition", b"")
        raise CommandError(
            f"refused: {condition.decode('utf-8', 'replace') if isinstance(condition, bytes) else condition}"
        )
