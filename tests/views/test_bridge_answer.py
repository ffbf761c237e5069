"""Responses as answers: what becomes of status, headers and body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.signals import request_finished
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse

from grip_consumers.views.bridge_answer import BodyTooLarge, BodyTooSlow, answer, aread_body, error_answer, read_body


def answered(response: Any, method: str = "get") -> dict[str, Any]:
    return answer(7, method, response, read_body(response, 10_000))


def test_an_answer_has_id_status_headers_and_body():
    response = JsonResponse({"title": "tea"}, status=201, headers={"Location": "/notes/1/"})
    assert answered(response) == {
        "id": 7,
        "status": 201,
        "headers": {"Content-Type": "application/json", "Location": "/notes/1/"},
        "body": {"title": "tea"},
    }


BODIES = {
    "json": ("application/json", b"[1.5, null]", {"body": [1.5, None]}),
    "problem-json": ("application/problem+json; charset=utf-8", b'"x"', {"body": "x"}),
    "no-json": ("application/json", b"{", {"body": "{"}),
    "nan": ("application/json", b"NaN", {"body": "NaN"}),
    "too-large-number": ("application/json", b"[1e999]", {"body": "[1e999]"}),
    "html": ("text/html; charset=utf-8", "<p>é".encode(), {"body": "<p>é"}),
    "latin-1": ("text/plain; charset=latin-1", b"\xe9", {"body": "é"}),
    "unknown-charset": ("text/plain; charset=klingon", b"x", {"body": "eA==", "encoding": "base64"}),
    "wrong-charset": ("text/plain; charset=utf-8", b"\xff", {"body": "/w==", "encoding": "base64"}),
    "svg": ("image/svg+xml", b"<svg/>", {"body": "<svg/>"}),
    "image": ("image/png", b"PNG", {"body": "UE5H", "encoding": "base64"}),
    "empty": ("application/json", b"", {"body": None}),
}


@pytest.mark.parametrize(("kind", "body", "expected"), BODIES.values(), ids=BODIES)
def test_the_content_type_says_what_a_body_is(kind: str, body: bytes, expected: dict[str, Any]):
    found = answered(HttpResponse(body, content_type=kind))
    assert {name: found[name] for name in found if name in ("body", "encoding")} == expected


@pytest.mark.parametrize(("method", "status"), [("head", 200), ("delete", 204), ("get", 304)])
def test_a_response_that_has_no_body_by_http_has_none_here(method: str, status: int):
    assert answered(HttpResponse("text", status=status, content_type="text/plain"), method)["body"] is None


def test_cookies_stay_behind():
    response = HttpResponse("text")
    response.set_cookie("sessionid", "secret")
    response.headers["Set-Cookie"] = "other=secret"
    assert "secret" not in str(answered(response))


def test_what_is_meant_for_the_proxy_stays_behind():
    meant = {"Grip-Hold": "stream", "grip-channel": "secret", "GRIP-LINK": "</x>; rel=next", "Set-Meta-User": "5"}
    assert answered(HttpResponse("", headers={**meant, "X-Own": "kept"}))["headers"] == {
        "Content-Type": "text/html; charset=utf-8",
        "X-Own": "kept",
    }
    assert "secret" not in str(answered(HttpResponse("<p>", status=500, headers=meant)))


def test_a_page_that_reports_an_error_becomes_an_object():
    response = HttpResponse("<h1>Not Found</h1>", status=404, headers={"Vary": "Cookie", "Content-Length": "18"})
    assert answered(response) == {
        "id": 7,
        "status": 404,
        "headers": {"Content-Type": "application/json", "Vary": "Cookie"},
        "body": {"error": "Not Found", "status_code": 404},
    }
    assert answered(JsonResponse({"detail": "none"}, status=404))["body"] == {"detail": "none"}


def test_an_error_answer_needs_no_response():
    assert error_answer(None, "Missing URL", 400) == {
        "id": None,
        "status": 400,
        "headers": {"Content-Type": "application/json"},
        "body": {"error": "Missing URL", "status_code": 400},
    }


def chunks() -> Iterator[bytes]:
    yield from (b"ab", b"cd")


async def achunks() -> AsyncIterator[bytes]:
    for chunk in chunks():
        yield chunk


MADE = {
    "at-once": lambda: HttpResponse(b"abcd"),
    "streaming": lambda: StreamingHttpResponse(chunks()),
    "asynchronous": lambda: StreamingHttpResponse(achunks()),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
async def test_a_body_is_read_up_to_a_limit_and_closed_once(make: Any):
    ends: list[Any] = []

    def ended(**kwargs: Any) -> None:
        ends.append(kwargs)

    request_finished.connect(ended)
    try:
        assert await sync_to_async(read_body)(make(), 4) == await aread_body(make(), 4) == b"abcd"
        with pytest.raises(BodyTooLarge, match="more than 3 bytes: ask for less"):
            await sync_to_async(read_body)(make(), 3)
        with pytest.raises(BodyTooLarge):
            await aread_body(make(), 3)
        assert len(ends) == 4
        closed = make()
        await sync_to_async(closed.close)()
        if not closed.streaming:
            await aread_body(closed, 4)
        assert len(ends) == 5
    finally:
        request_finished.disconnect(ended)


def slow_chunks() -> Iterator[bytes]:
    while True:
        time.sleep(0.001)
        yield b"."


async def slow_achunks() -> AsyncIterator[bytes]:
    yield b"."
    await asyncio.Event().wait()


async def failing_achunks() -> AsyncIterator[bytes]:
    yield b"."
    raise TimeoutError("the view's own")


@pytest.mark.parametrize("chunks", [slow_chunks, slow_achunks], ids=["sync", "async"])
async def test_a_body_that_does_not_end_is_given_up_and_closed(chunks: Any):
    for read in (sync_to_async(read_body), aread_body):
        response = StreamingHttpResponse(chunks())
        with pytest.raises(BodyTooSlow, match=r"has not ended within 0\.05 seconds: ask by HTTP"):
            await read(response, 10**9, 0.05)
        assert response.closed


async def test_a_time_out_of_a_view_is_its_own():
    with pytest.raises(TimeoutError, match="the view's own"):
        await aread_body(StreamingHttpResponse(failing_achunks()), 1000)
