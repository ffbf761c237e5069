"""HTTP requests to an ASGI application (`channels.testing.http`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlparse

from grip_consumers.types import ASGIApplication

from .application import ApplicationCommunicator, require

__all__ = ["HttpCommunicator"]


class HttpCommunicator(ApplicationCommunicator):
    """One HTTP request.

    Args:
        application: the ASGI application.
        method: in any case.
        path: with the query string, if there is one.
        body: the whole of it, in one message.
        headers: pairs of bytes, names in lower case.
    """

    def __init__(
        self,
        application: ASGIApplication,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        parsed = urlparse(path)
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method.upper(),
            "path": unquote(parsed.path),
            "query_string": parsed.query.encode("utf-8"),
            "headers": headers or [],
        }
        require(isinstance(body, bytes), f"Expected the body as bytes, got {type(body)}")
        self.body = body
        self.sent_request = False
        super().__init__(application, self.scope)  # type: ignore[no-untyped-call]

    async def get_response(self, timeout: float = 1) -> dict[str, Any]:
        """Send the request, if that has not been done, and return `status`, `headers` and the whole `body`."""
        if not self.sent_request:
            self.sent_request = True
            await self.send_input({"type": "http.request", "body": self.body})
        start = await self.receive_output(timeout)
        require(start["type"] == "http.response.start", f"Expected the start of a response, got {start!r}")
        response: dict[str, Any] = {"headers": [], **start, "body": b""}
        del response["type"]
        more = True
        while more:
            chunk = await self.receive_output(timeout)
            require(chunk["type"] == "http.response.body", f"Expected a part of the body, got {chunk!r}")
            require(isinstance(chunk["body"], bytes), f"Expected the body as bytes, got {type(chunk['body'])}")
            response["body"] += chunk["body"]
            more = chunk.get("more_body", False)
        return response
