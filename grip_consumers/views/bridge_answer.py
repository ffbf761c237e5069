"""The answer to a message: Django's response as the JSON object that goes back through the socket.

{"id": 7, "status": 201, "headers": {"Content-Type": "application/json"}, "body": {"title": "tea"}}
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NoReturn

from asgiref.sync import async_to_sync, sync_to_async
from django.http.response import HttpResponseBase

__all__ = [
    "BodyTooLarge",
    "BodyTooSlow",
    "answer",
    "aread_body",
    "error_answer",
    "is_error_page",
    "read_body",
    "read_json",
]

#: What a view tells a GRIP proxy: nothing for the client, who is told by no proxy here.
_FOR_THE_PROXY = ("grip-", "set-meta-")


class BodyTooLarge(ValueError):  # noqa: N818 - it names what happened
    """A response has more bytes than an answer may have.

    Attributes:
        limit: how many that is.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"The response has more than {self.limit} bytes: ask for less, or ask by HTTP."


class BodyTooSlow(ValueError):  # noqa: N818 - it names what happened
    """A response takes longer than an answer may.

    Attributes:
        seconds: how long that is.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"The response has not ended within {self.seconds:g} seconds: ask by HTTP."


def read_body(response: Any, limit: int, timeout: float | None = None) -> bytes:
    """The response's whole body, also of one that streams. It is closed then.

    Args:
        limit: how many bytes it may have.
        timeout: how many seconds it may take. A response that blocks is noticed by its next chunk only.

    Raises BodyTooLarge and BodyTooSlow.
    """
    if getattr(response, "is_async", False):
        return async_to_sync(aread_body)(response, limit, timeout)
    end = math.inf if timeout is None else time.monotonic() + timeout
    try:
        chunks, size = [], 0
        for chunk in response:
            chunks.append(chunk)
            size += len(chunk)
            _check_size(size, limit)
            if timeout is not None and time.monotonic() > end:
                raise BodyTooSlow(timeout)
        return b"".join(chunks)
    finally:
        # Once only: each time Django tells everybody that a request has ended.
        if not response.closed:
            response.close()


async def aread_body(response: Any, limit: int, timeout: float | None = None) -> bytes:
    """As :func:`read_body`, for asynchronous code."""
    if not getattr(response, "is_async", False):
        return await sync_to_async(read_body)(response, limit, timeout)
    # One task for all of it, not one for each chunk: a generator may hold what belongs to a task.
    reading = asyncio.ensure_future(_joined(response, limit))
    try:
        await asyncio.wait({reading}, timeout=timeout)
        if timeout is not None and not reading.done():
            raise BodyTooSlow(timeout)
        return reading.result()
    finally:
        if reading.cancel():
            await asyncio.wait({reading})
        await sync_to_async(response.close)()


async def _joined(response: Any, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in response:
        chunks.append(chunk)
        size += len(chunk)
        _check_size(size, limit)
    return b"".join(chunks)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BodyTooLarge(limit)


def answer(message_id: Any, method: str, response: HttpResponseBase, body: bytes) -> dict[str, Any]:
    """The answer that a response makes.

    A body of JSON is the value itself, text is a text, and other bytes are base64, with ``"encoding": "base64"`` beside
    it; without any it is None. An HTML page that reports an error is for eyes: it becomes an error object.
    Cookies stay behind: scripts are not to see them, and no browser would keep them.
    """
    status = response.status_code
    if is_error_page(response):
        return error_answer(message_id, response.reason_phrase, status, _headers(response))
    found: dict[str, Any] = {"id": message_id, "status": status, "headers": _headers(response), "body": None}
    if body and method != "head" and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        found.update(_content(_kind(response), getattr(response, "charset", "utf-8"), body))
    return found


def is_error_page(response: HttpResponseBase) -> bool:
    """Whether a response reports an error by an HTML page."""
    return response.status_code >= HTTPStatus.BAD_REQUEST and _kind(response) == "text/html"


def error_answer(message_id: Any, text: str, status: int, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The answer that reports an error."""
    shown = {
        name: value for name, value in (headers or {}).items() if name.lower() not in ("content-type", "content-length")
    }
    return {
        "id": message_id,
        "status": status,
        "headers": {"Content-Type": "application/json", **shown},
        "body": {"error": text, "status_code": status},
    }


def read_json(text: str | bytes) -> Any:
    """What a JSON text says (RFC 8259), with finite numbers only. Raises ValueError and RecursionError."""
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)


def _kind(response: HttpResponseBase) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _headers(response: HttpResponseBase) -> dict[str, str]:
    def is_kept(name: str) -> bool:
        return name != "set-cookie" and not name.startswith(_FOR_THE_PROXY)

    return {name: value for name, value in response.headers.items() if is_kept(name.lower())}


def _content(kind: str, charset: str, body: bytes) -> dict[str, Any]:
    if kind == "application/json" or kind.endswith("+json"):
        with suppress(ValueError, RecursionError):
            return {"body": read_json(body)}
    if kind.startswith("text/") or kind.endswith(("json", "xml", "javascript")):
        with suppress(UnicodeDecodeError, LookupError):
            return {"body": body.decode(charset)}
    return {"body": base64.b64encode(body).decode("ascii"), "encoding": "base64"}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number.")
    return number
