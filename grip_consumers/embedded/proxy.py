"""The ASGI application that stands before the project's own."""

from __future__ import annotations

import logging
import uuid

from grip_consumers.discovery import ISSUER
from grip_consumers.protocol import PUBLISH_MAX
from grip_consumers.protocol.headers import CONTENT_TYPE

from . import control
from .backend import Application, Backend, Message, Receive, Scope, Send
from .connection import Connection, Limits
from .handshake import Signer
from .hub import Hub
from .passage import Passage
from .session import Session

__all__ = ["EmbeddedProxy"]

logger = logging.getLogger("grip_consumers.embedded")

_REFUSAL = "Client not allowed to send WebSocket events directly."


class EmbeddedProxy:
    """An ASGI 3 application: a GRIP proxy for development and tests, around the project's application.

    WebSockets end here; the wrapped application sees them as WebSocket-over-HTTP requests. Plain HTTP goes through as
    it comes, signed and without what the client put into `Grip-*` headers; a response with `Grip-Hold` is held. What
    lies under `control_path` is answered here (publishing, see `control`), and a client's own WebSocket-over-HTTP
    request gets 403, as from Pushpin.

    All state is in this process, so exactly one process may serve: no reloading workers behind one port.
    PING frames of the client are answered by the ASGI server and reach neither the proxy nor the backend, and
    it completes a closing handshake that the client began, so the client sees its own code come back.

    Args:
        app: the wrapped application.
        signing_key: signs Grip-Sig and verifies publishers (HS256); both sides derive it from SECRET_KEY
            (`discovery.signing_key`). 32 bytes or more.
        control_path: where to publish, without a slash at the end.
        limits: what one connection may use.
    """

    def __init__(
        self,
        app: Application,
        *,
        signing_key: bytes,
        control_path: str = "/.grip",
        limits: Limits | None = None,
    ) -> None:
        self.app = app
        self.hub = Hub()
        self.control_path = control_path.rstrip("/")
        self._limits = limits or Limits()
        self._key = signing_key
        self._signer = Signer(signing_key, ISSUER)
        self._announced = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        self._announce()
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        elif scope["type"] == "http" and self._is_control(scope["path"]):
            await self._serve_control(scope, receive, send)
        elif scope["type"] == "http" and _claims_to_be_a_batch(scope):
            await _respond(send, 403, _REFUSAL)
        elif scope["type"] == "http":
            await Passage(self.app, self.hub, self._signer, self._limits).run(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            logger.info("The embedded GRIP proxy holds the WebSockets: for development and tests only.")

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(list(scope["headers"]), str(uuid.uuid4()), self._limits)
        backend = Backend(self.app, scope, self._limits.response_bytes)
        await Session(connection, backend, self.hub, self._signer).run(scope, receive, send)

    def _is_control(self, path: str) -> bool:
        return path == self.control_path or path.startswith(f"{self.control_path}/")

    async def _serve_control(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, text = await self._control(scope, receive)
        except control.ControlError as error:
            status, text = error.status, str(error)
        await _respond(send, status, text)

    async def _control(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        if scope["path"].rstrip("/") != f"{self.control_path}/publish":
            raise control.ControlError(404, f"Expected POST {self.control_path}/publish/.")
        if scope["method"] != "POST":
            raise control.ControlError(405, f"Method not allowed: {scope['method']}.")
        control.authenticate(list(scope["headers"]), self._key, ISSUER)
        return control.answer(self.hub, await _read_body(receive, PUBLISH_MAX))


def _claims_to_be_a_batch(scope: Scope) -> bool:
    values = [value for name, value in scope["headers"] if name == b"content-type"]
    return bool(values) and values[0].partition(b";")[0].strip() == CONTENT_TYPE.encode()


async def _read_body(receive: Receive, limit: int) -> bytes:
    """Return the body, or a little more than `limit` bytes of it."""
    body = b""
    while len(body) <= limit:
        message: Message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


async def _respond(send: Send, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
