"""Requests over a WebSocket: consumers that let Django's views answer messages.

    path("ws/api/", ViewConsumer.as_asgi())

A message names a method and a URL; the view behind it answers, with the connection's session and user, through the
project's whole middleware. A view may put the connection into a group (``request.connection``): what is sent to the
group as a ``view.event`` reaches the client as ``{"event": …}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextvars import copy_context
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIRequest
from django.core.serializers.json import DjangoJSONEncoder

from grip_consumers.exceptions import StopConsumer
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.types import Message

from .bridge_answer import BodyTooLarge, BodyTooSlow, answer, aread_body, error_answer, read_body
from .bridge_connection import Connection, origin_is_trusted
from .bridge_request import WebSocketRequest

__all__ = ["AsyncViewConsumer", "Connection", "ViewConsumer", "WebSocketRequest"]

logger = logging.getLogger("grip_consumers.views")


class _Answering:
    """What both consumers have in common.

    Attributes:
        request_class: makes a request of each message.
        bare: call the views past all middleware, as django-websocket-request did.
        answer_limit: how many bytes an answer may have.
        answer_timeout: how many seconds a response may stream; whatever blocks is waited for.
    """

    request_class: type[WebSocketRequest] = WebSocketRequest
    bare = False
    answer_limit = 500_000
    answer_timeout = 30.0

    def origin_is_trusted(self) -> bool:
        """Whether the page that opened the socket may act for the user whose cookies came with it.

        It may if it is of the same host or of an origin in ``CSRF_TRUSTED_ORIGINS``, and so may what is no page:
        browsers always name an origin. This is what exempts the messages from Django's CSRF tokens.
        """
        return origin_is_trusted(Connection(self))

    def make_request(self, message: str | bytes) -> WebSocketRequest:
        """The request that a message makes; override it for `factory_defaults` of your own."""
        return self.request_class(message, bare=self.bare, origin=Connection(self))

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """Turn an answer or an event into the text of a frame. Raises ValueError for a number that is not finite."""
        return json.dumps(content, cls=DjangoJSONEncoder, allow_nan=False)

    def _refuse(self) -> None:
        scope: Any = self.scope  # type: ignore[attr-defined]
        origins = [value.decode("latin-1")[:200] for name, value in scope.get("headers", ()) if name == b"origin"]
        logger.warning(
            "Refused a WebSocket to %s with Origin %r: its messages would act for the user whose cookies came along. "
            "If it comes from a site of yours, add it to CSRF_TRUSTED_ORIGINS.",
            scope.get("path"),
            ",".join(origins),
        )

    def _frame(self, found: dict[str, Any]) -> str:
        try:
            text = self.encode_json(found)
        except RecursionError:
            return self.encode_json(error_answer(found["id"], "The response is nested too deeply.", 500))
        if len(text) <= self.answer_limit:
            return text
        return self.encode_json(error_answer(found["id"], str(BodyTooLarge(self.answer_limit)), 500))


def _request_of(asked: WebSocketRequest) -> WSGIRequest | None:
    """The request, if the message makes one."""
    if asked.error is None:
        try:
            return asked.get_request()
        except RecursionError:
            asked.set_error("The data is nested too deeply.")
    return None


def _refusal(asked: WebSocketRequest) -> dict[str, Any]:
    error = asked.error or {}
    return error_answer(asked.id, error["error"], error["status_code"])


def _failure(asked: WebSocketRequest, request: WSGIRequest, error: Exception) -> dict[str, Any]:
    """The answer for an exception that nobody between here and the view has made a response of."""
    if isinstance(error, (BodyTooLarge, BodyTooSlow)):
        return error_answer(asked.id, str(error), 500)
    try:
        # Knows the status of each kind, and logs what is the view's fault.
        response = response_for_exception(request, error)
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return error_answer(asked.id, "Internal Server Error", 500)
    return answer(asked.id, asked.method, response, response.content)


class ViewConsumer(_Answering, WebsocketConsumer):
    """Answers each message with ``{"id", "status", "headers", "body"}``: what the view behind its URL responds.

    A message that makes no request, and an exception in a view, are answered with the error's status; the connection
    stays. Asynchronous views run while their thread waits: for slow ones there is :class:`AsyncViewConsumer`.
    """

    def websocket_connect(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.connect``, unless a foreign page opens the socket: it is refused."""
        if not self.origin_is_trusted():
            self._refuse()
            self.close()
            raise StopConsumer
        super().websocket_connect(message)

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message."""
        asked = self.make_request((text_data if text_data is not None else bytes_data) or "")
        # What the project activates for its request is gone after it.
        self.send(text_data=self._frame(copy_context().run(self._answer, asked)))

    def _answer(self, asked: WebSocketRequest) -> dict[str, Any]:
        request = _request_of(asked)
        if request is None:
            return _refusal(asked)
        try:
            response = asked.respond(request)
            body = read_body(response, self.answer_limit, self.answer_timeout)
            found = answer(asked.id, asked.method, response, body)
        except Exception as error:
            return _failure(asked, request, error)
        if not asked.authorizes:
            Connection(self).take_over(request)
        return _refusal(asked) if asked.error else found

    def view_event(self, event: Message) -> None:
        """Send a ``view.event`` to the client: all of it but its type."""
        self.send_event({name: value for name, value in event.items() if name != "type"})

    def send_event(self, content: Any) -> None:
        """Send ``{"event": content}``, for handlers of other events."""
        self.send(text_data=self.encode_json({"event": content}))


class AsyncViewConsumer(_Answering, AsyncWebsocketConsumer):
    """As :class:`ViewConsumer`, on the event loop: synchronous views run in a thread."""

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.connect``, unless a foreign page opens the socket: it is refused."""
        if not self.origin_is_trusted():
            self._refuse()
            await self.close()
            raise StopConsumer
        await super().websocket_connect(message)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one message."""
        asked = self.make_request((text_data if text_data is not None else bytes_data) or "")
        # What the project activates for its request is gone after it, as it is of the task's context.
        await self.send(text_data=self._frame(await asyncio.ensure_future(self._answer(asked))))

    async def _answer(self, asked: WebSocketRequest) -> dict[str, Any]:
        request = _request_of(asked)
        if request is None:
            return _refusal(asked)
        try:
            response = await asked.arespond(request)
            body = await aread_body(response, self.answer_limit, self.answer_timeout)
            found = answer(asked.id, asked.method, response, body)
        except Exception as error:
            return await sync_to_async(_failure)(asked, request, error)
        if not asked.authorizes:
            Connection(self).take_over(request)
        return _refusal(asked) if asked.error else found

    async def view_event(self, event: Message) -> None:
        """Send a ``view.event`` to the client: all of it but its type."""
        await self.send_event({name: value for name, value in event.items() if name != "type"})

    async def send_event(self, content: Any) -> None:
        """Send ``{"event": content}``, for handlers of other events."""
        await self.send(text_data=self.encode_json({"event": content}))
