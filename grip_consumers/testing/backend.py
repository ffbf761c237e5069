"""What answers the batches of a communicator's connection, and keeps what goes wrong for the test to see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from grip_consumers.batch import EXTENSION, Batch
from grip_consumers.dispatcher import Dispatcher
from grip_consumers.types import ASGIApplication, Receive, Scope, Send

__all__ = ["TestedDispatcher", "split_scope"]

#: What a server makes of a handshake; the rest of a communicator's scope is what a test has put there.
_OF_THE_SERVER = frozenset(
    {"asgi", "client", "headers", "http_version", "path", "query_string", "raw_path", "root_path", "scheme", "server"}
    | {"state", "subprotocols", "type"}
)


def split_scope(scope: Mapping[str, Any]) -> tuple[Scope, dict[str, Any]]:
    """The scope that a server would make of the handshake, and what the test has put into its own beside that."""
    headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
    offered = ", ".join(scope["subprotocols"]).encode()
    if offered and all(name != b"sec-websocket-protocol" for name, _ in headers):
        headers.append((b"sec-websocket-protocol", offered))
    handshake = {
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "raw_path": quote(scope["path"]).encode(),
        "root_path": "",
        **{key: value for key, value in scope.items() if key in _OF_THE_SERVER},
        "headers": headers,
    }
    return handshake, {key: value for key, value in scope.items() if key not in _OF_THE_SERVER}


class TestedDispatcher(Dispatcher):
    """Dispatches the batches of one connection to `application`, into whose scope `added` is put.

    Attributes:
        errors: what was raised, in order; each has also ended the connection, as it does in production.
        refused_with: the close code with which `connect` has refused; a client sees nothing but the 403.
    """

    #: Not a test, whatever its name looks like.
    __test__ = False

    def __init__(self, application: ASGIApplication, added: Mapping[str, Any]) -> None:
        super().__init__(lambda: self._with_additions)
        self.errors: list[Exception] = []
        self._inner = application
        self._added = added
        self._opening: Batch | None = None

    @property
    def refused_with(self) -> int | None:
        return None if self._opening is None else self._opening.refused_with

    def _failed(self, job: Any, error: Exception) -> None:
        super()._failed(job, error)
        self.errors.append(error)

    async def _with_additions(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if self._opening is None:
            self._opening = scope["extensions"][EXTENSION]
        extensions = {**self._added.get("extensions", {}), **scope["extensions"]}
        return await self._inner({**scope, **self._added, "extensions": extensions}, receive, send)
