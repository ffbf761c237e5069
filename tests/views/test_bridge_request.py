"""Messages as requests: what they may say, what becomes of it, and the way through the project."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.test import RequestFactory
from django.urls import get_script_prefix, get_urlconf, resolve
from django.utils import timezone, translation

from grip_consumers.views.bridge_request import METHODS, WebSocketRequest

MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.views.bridge_site"
    settings.MIDDLEWARE = [*MIDDLEWARE, "tests.views.bridge_site.Passing"]


def ask(factory_defaults: Any = None, *, bare: bool = False, **message: Any) -> WebSocketRequest:
    return WebSocketRequest(json.dumps(message), factory_defaults, bare=bare)


def echoed(**message: Any) -> dict[str, Any]:
    response = ask(**{"url": "/echo/", **message}).get_response()
    assert response.status_code == 200, response.content
    found: dict[str, Any] = json.loads(response.content)
    return found


# The interface of the original ----------------------------------------------------------------------------------


def test_a_message_is_read_when_the_request_is_made():
    request = ask(method="POST", url="/echo/", data={"good": 1}, token="abc", id=7)
    assert (request.method, request.url, request.data, request.token, request.id) == (
        "post",
        "/echo/",
        {"good": 1},
        "abc",
        7,
    )
    assert (request.is_valid(), request.error, request.is_valid_message()) == (True, None, True)
    assert (request.get_method(), request.get_data(), request.get_token()) == ("post", {"good": 1}, "abc")


def test_what_a_message_leaves_out_has_defaults():
    request = ask()
    assert (request.get_url(), request.get_method(), request.get_data(), request.get_token()) == (None, "get", {}, None)


def test_set_error_makes_the_request_invalid():
    request = ask(url="/echo/")
    request.set_error("Error message", 123)
    assert request.error == {"error": "Error message", "status_code": 123}
    assert request.get_response() == request.error


def test_the_resolver_match_is_that_of_the_path():
    assert ask(url="/echo/?a=/b#c").get_url_resolver_match().url_name == resolve("/echo/").url_name


def test_the_factory_has_the_token_and_the_defaults():
    factory = ask(
        {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.2"}, url="/echo/", token="abc"
    ).get_factory()
    assert isinstance(factory, RequestFactory)
    assert factory.defaults == {
        "HTTP_AUTHORIZATION": "JWT abc",
        "REMOTE_ADDR": "10.0.0.1",
        "HTTP_X_FORWARDED_FOR": "10.0.0.2",
    }


def test_a_request_made_with_a_factory_has_the_defaults_of_the_factory():
    request = ask(url="/echo/").get_request(RequestFactory(SERVER_NAME="elsewhere"))
    assert (request.path, request.META["SERVER_NAME"]) == ("/echo/", "elsewhere")


def test_the_view_can_be_called_by_hand():
    asked = ask(url="/things/tea/")
    assert asked.get_view(asked.get_url_resolver_match(), asked.get_request()).content == b'{"name": "tea"}'


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
def test_a_method_that_the_view_does_not_have_is_its_405(bare: bool):
    assert ask(url="/things/tea/", method="put", token="abc", bare=bare).get_response().status_code == 405


# What makes no request ------------------------------------------------------------------------------------------

WRONG = {
    "no-json": ("errormsg", "Invalid formatted message."),
    "empty": ("", "Invalid formatted message."),
    "cut-off": ("{", "Invalid formatted message."),
    "list": ('["/echo/"]', "Invalid formatted message."),
    "text": ('"/echo/"', "Invalid formatted message."),
    "nan": ('{"url": "/echo/", "data": NaN}', "Invalid formatted message."),
    "too-large-number": ('{"url": "/echo/", "id": -1e999}', "Invalid formatted message."),
    "deep": ("[" * 100_000, "Invalid formatted message."),
    "bytes": (b"\xff\xfe\x00", "Invalid formatted message."),
    "object-id": ('{"id": {}, "url": "/echo/"}', "The id must be a number or a text of up to 200 characters."),
    "long-id": (json.dumps({"id": "x" * 201, "url": "/echo/"}), "The id must be a number or a text of up to 200"),
    "huge-id": (json.dumps({"id": 10**200, "url": "/echo/"}), "The id must be a number or a text of up to 200"),
    "no-url": ('{"method": "GET"}', "Missing URL"),
    "null-url": ('{"url": null}', "Missing URL"),
    "number-url": ('{"url": 5}', "The URL must be a text without control characters."),
    "newline-in-url": (r'{"url": "/echo/\r\nHost: x"}', "The URL must be a text without control characters."),
    "space-in-url": ('{"url": "/echo/ HTTP/1.1"}', "The URL must be a text without control characters."),
    "half-pair-in-url": (r'{"url": "/echo/\ud800"}', "The URL must be a text without control characters."),
    "number-method": ('{"url": "/echo/", "method": 1}', "The method must be a text."),
    "token-with-newline": (
        r'{"url": "/echo/", "token": "a\r\nX: y"}',
        "The token must be a text of up to 8192 printable",
    ),
    "token-list": ('{"url": "/echo/", "token": ["a"]}', "The token must be a text of up to 8192 printable"),
    "long-token": (json.dumps({"url": "/echo/", "token": "x" * 8193}), "The token must be a text of up to 8192"),
    "long-header": (
        json.dumps({"url": "/echo/", "headers": {"Accept": "x" * 8193}}),
        "The header 'Accept' must be a text of up to 8192",
    ),
    "headers-list": ('{"url": "/echo/", "headers": ["a"]}', "The headers must be an object."),
    "get-list": ('{"url": "/echo/", "data": [1]}', "The data of a GET or HEAD must be an object"),
    "get-null-value": ('{"url": "/echo/", "data": {"a": null}}', "'a' cannot be put in a query"),
    "get-object-value": ('{"url": "/echo/", "data": {"a": {"b": 1}}}', "'a' cannot be put in a query"),
}


@pytest.mark.parametrize(("message", "error"), WRONG.values(), ids=WRONG)
def test_what_makes_no_request_is_a_400_that_says_why(message: str, error: str):
    found = WebSocketRequest(message).error
    assert found is not None
    assert found["error"].startswith(error)
    assert found["status_code"] == 400


LONG = {
    "broken-path": {"url": "/" + "%FF" * 300_000},
    "path": {"url": f"/{'x' * 8192}"},
    "query": {"url": f"/echo/?{'x' * 8192}"},
    "data": {"url": "/echo/", "data": {"a": "é" * 1500}},
    "name": {"url": "/echo/", "data": {"a" * 8190: 1}},
    "both": {"url": f"/echo/?{'x' * 4096}", "data": {"a": "x" * 4096}},
}


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
@pytest.mark.parametrize("message", LONG.values(), ids=LONG)
def test_a_url_has_a_limit_that_its_query_counts_towards(message: dict[str, Any], bare: bool):
    found = ask(bare=bare, **message)
    assert found.error == {
        "error": "The URL and its query may have 8192 characters. Larger data belongs into the body of another method.",
        "status_code": 414,
    }


def test_a_long_url_below_the_limit_passes():
    assert len(echoed(url="/echo/", data={"a": "x" * 8100})["query"]) == 8102
    # Bytes that are no text: Django's treatment of them takes time that grows with their square.
    assert ask(url="/" + "%FF" * 2700).error == {"error": "Resource not found.", "status_code": 404}


@pytest.mark.parametrize("url", ["/nothing/", "echo/", "//echo/", "http://testserver/echo/", "/%ff/", "?a=b"])
def test_a_url_that_leads_nowhere_is_a_404(url: str):
    assert ask(url=url).get_response() == {"error": "Resource not found.", "status_code": 404}


def test_an_unknown_method_is_a_405_that_names_those_there_are():
    found = ask(url="/echo/", method="BREW").error
    assert found["status_code"] == 405
    assert "DELETE, GET, HEAD" in found["error"]


def test_a_request_is_not_made_of_an_error():
    with pytest.raises(ValueError, match="This message makes no request: Missing URL"):
        ask().get_request()


FORBIDDEN = (
    "Host",
    "Cookie",
    "Origin",
    "Referer",
    "Connection-Id",
    "Grip-Sig",
    "Grip-Feature",
    "Grip-Hold",
    "Meta-State",
)
FORGED = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "Forwarded",
    "Remote-User",
    "Content-Length",
    "Content-Type",
    "Upgrade",
)


@pytest.mark.parametrize("name", [*FORBIDDEN, *FORGED, "hOST", "Accept_Language", "Accept\r\nHost", "", "İf-Match"])
def test_a_message_cannot_set_a_header_that_is_not_its_own(name: str):
    found = ask(url="/echo/", headers={name: "x"}).error
    assert found["status_code"] == 400
    assert found["error"].startswith(f"A message cannot set the header {name!r}. It can set Accept, ")


@pytest.mark.parametrize("value", ["a\r\nHost: x", "a\nb", "a\0", "é", 5, None, ["a"], "\x7f"])
def test_the_value_of_a_header_is_printable_ascii(value: Any):
    found = ask(url="/echo/", headers={"Accept": value}).error
    error = "The header 'Accept' must be a text of up to 8192 printable ASCII characters."
    assert found == {"error": error, "status_code": 400}


# What reaches the view ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", sorted(METHODS - {"get", "head"}))
def test_data_is_the_json_body(method: str):
    found = echoed(method=method, url="/echo/?a=b", data={"é": [1, None]})
    assert (found["method"], found["query"], found["kind"]) == (method.upper(), "a=b", "application/json")
    assert json.loads(found["body"]) == {"é": [1, None]}


def test_the_data_of_a_get_is_its_query():
    found = echoed(url="/echo/?a=b#fragment", data={"c": [1, "é&", True], "d": 0.5, "e\ud800": "\ud800"})
    assert (found["query"], found["body"], found["kind"]) == ("a=b&c=1&c=%C3%A9%26&c=true&d=0.5&e%3F=%3F", "", "")


def test_a_path_may_be_written_with_or_without_percent_signs():
    assert echoed(url="/caf%C3%A9/")["path"] == echoed(url="/café/")["path"] == "/café/"


def test_headers_reach_the_view_and_a_token_wins_over_an_authorization():
    sent = {"accept-language": "de", "Authorization": "Bearer x"}
    assert echoed(headers=sent)["headers"] == {
        "HTTP_ACCEPT": "application/json",
        "HTTP_ACCEPT_LANGUAGE": "de",
        "HTTP_AUTHORIZATION": "Bearer x",
    }
    assert echoed(headers=sent, token="abc")["headers"]["HTTP_AUTHORIZATION"] == "JWT abc"


def test_a_subclass_may_allow_more_headers():
    class Request(WebSocketRequest):
        allowed_headers = (*WebSocketRequest.allowed_headers, "X-Page")

    request = Request('{"url": "/echo/", "headers": {"x-page": "2"}}').get_request()
    assert request.META["HTTP_X_PAGE"] == "2"


VIEWS = {
    "function": ("/echo/", 200),
    "async-function": ("/async/", 200),
    "class": ("/things/tea/", 200),
    "async-class": ("/async-things/tea/", 200),
    "rest": ("/rest/", 200),
    "template": ("/template/", 200),
}


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
@pytest.mark.parametrize(("url", "status"), VIEWS.values(), ids=VIEWS)
async def test_every_kind_of_view_answers_both_kinds_of_code(url: str, status: int, bare: bool):
    first = await sync_to_async(ask(url=url, bare=bare).get_response)()
    second = await ask(url=url, bare=bare).aget_response()
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.status_code == status
    assert [response.get("X-Passed") for response in (first, second)] == [None if bare else "yes"] * 2


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
async def test_an_error_is_the_answer_of_both(bare: bool):
    assert await ask(bare=bare).aget_response() == ask(bare=bare).get_response()


def test_middleware_runs_unless_it_is_bare():
    assert echoed()["passed"]
    assert not json.loads(ask(url="/echo/", bare=True).get_response().content)["passed"]


def test_middleware_that_is_changed_is_made_anew(settings: Any):
    assert echoed()["passed"]
    settings.MIDDLEWARE = []
    assert not echoed()["passed"]


def test_an_exception_in_a_view_is_a_response_unless_it_is_bare(caplog: pytest.LogCaptureFixture):
    assert ask(url="/fail/value/").get_response().status_code == 500
    assert "Internal Server Error: /fail/value/" in caplog.text
    with pytest.raises(ValueError, match="broken"):
        ask(url="/fail/value/", bare=True).get_response()


def test_a_request_with_cookies_that_nobody_vouches_for_needs_its_csrf_token():
    assert ask(url="/echo/", method="POST").get_response().status_code == 200
    assert ask({"HTTP_COOKIE": "sessionid=abc"}, url="/echo/", method="POST").get_response().status_code == 403


def test_the_begin_and_the_end_of_a_request_are_signalled_once():
    seen: list[str] = []

    def started(**kwargs: Any) -> None:
        seen.append("started")

    def finished(**kwargs: Any) -> None:
        seen.append("finished")

    request_started.connect(started)
    request_finished.connect(finished)
    try:
        ask(url="/echo/").get_response()
        streaming = ask(url="/stream/?count=1").get_response()
        assert seen == ["started", "finished", "started"]
        streaming.close()
        assert seen[3:] == ["finished"]
    finally:
        request_started.disconnect(started)
        request_finished.disconnect(finished)


class Mounted:
    """A connection to a project, which is mounted at a path."""

    def __init__(self, root_path: str = "/app") -> None:
        self.root_path = root_path

    def environ(self, *, anonymous: bool) -> dict[str, Any]:
        return {"SCRIPT_NAME": self.root_path}

    def attach(self, request: Any, *, anonymous: bool, bare: bool) -> None:
        """Nothing to add."""


def test_urls_begin_with_the_projects_own_path_as_in_a_browser():
    before = get_script_prefix()
    inside = WebSocketRequest('{"url": "/app/echo/"}', origin=Mounted()).get_response()
    assert {name: json.loads(inside.content)[name] for name in ("path", "reversed")} == {
        "path": "/app/echo/",
        "reversed": "/app/echo/",
    }
    assert get_script_prefix() == before
    assert WebSocketRequest('{"url": "/echo/"}', origin=Mounted()).error["status_code"] == 404
    assert WebSocketRequest('{"url": "/app"}', origin=Mounted()).error["status_code"] == 404


def test_the_host_is_one_that_the_project_allows(settings: Any):
    settings.ALLOWED_HOSTS = ["*", ".example.com"]
    assert ask(url="/echo/").get_request().get_host() == "example.com"
    settings.ALLOWED_HOSTS = []
    assert ask(url="/echo/").get_request().META["SERVER_NAME"] == "localhost"


# The way to a view by a connection ------------------------------------------------------------------------------


async def both(bare: bool = False, **message: Any) -> Any:
    """What a message of a connection gets, equal for both kinds of code."""
    made = [WebSocketRequest(json.dumps(message), bare=bare, origin=Mounted("")) for _ in range(2)]
    assert [request.is_valid() for request in made] == [True, True]
    first, second = await sync_to_async(made[0].get_response)(), await made[1].aget_response()
    if isinstance(first, dict):
        assert first == second == made[0].error == made[1].error
        return first
    if first.streaming:
        first.close()
        await sync_to_async(second.close)()
        return first.status_code, "", first.headers
    assert (first.status_code, first.content, first.headers) == (second.status_code, second.content, second.headers)
    return first.status_code, first.content.decode(), first.headers


def use(settings: Any, *middleware: str) -> None:
    settings.MIDDLEWARE = [*middleware, *MIDDLEWARE]


async def test_a_middleware_may_choose_the_urlconf(settings: Any):
    use(settings, "tests.views.bridge_site.tenant")
    assert (await both(url="/mine/"))[:2] == (200, '{"async": "GET"}')
    status, content, _ = await both(url="/mine/echo/")
    assert (status, json.loads(content)["reversed"]) == (200, "/mine/echo/")
    assert await both(url="/mine/rest/") == {"error": "Resource not found.", "status_code": 404}
    assert (await both(url="/echo/"))[0] == 200


async def test_a_middleware_may_answer_a_path_of_its_own(settings: Any):
    use(settings, "tests.views.bridge_site.health")
    assert (await both(url="/health"))[:2] == (200, '{"healthy": true}')


async def test_a_missing_slash_is_a_redirect_as_by_http(settings: Any):
    use(settings)
    status, _, headers = await both(url="/echo?a=b")
    assert (status, headers["Location"]) == (301, "/echo/?a=b")


async def test_the_language_of_a_path_is_that_of_its_request_alone(settings: Any):
    use(settings, "django.middleware.locale.LocaleMiddleware", "tests.views.bridge_site.abroad")
    settings.LANGUAGE_CODE, settings.LANGUAGES = "en", [("en", "English"), ("de", "German")]
    before = left_in_the_thread()
    for _ in range(2):
        for language in ("de", "en"):
            status, _, headers = await both(url=f"/{language}/tongue/")
            assert (status, headers["Content-Language"]) == (200, language)
            assert left_in_the_thread() == before
    status, _, headers = await both(url="/tongue/", headers={"Accept-Language": "de"})
    assert (status, headers["Location"]) == (302, "/de/tongue/")
    assert left_in_the_thread() == before


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
async def test_nothing_of_a_request_is_left_behind(settings: Any, bare: bool):
    use(settings, "tests.views.bridge_site.tenant", "tests.views.bridge_site.abroad")
    before = left_in_the_thread()
    for url in ("/echo/", "/async/", "/template/"):
        await both(url=url, bare=bare)
        assert left_in_the_thread() == before
    with translation.override("fr"):
        await both(url="/echo/", bare=bare)
        assert translation.get_language() == "fr"


def left_in_the_thread() -> tuple[Any, ...]:
    return translation.get_language(), timezone.get_current_timezone_name(), get_urlconf(), get_script_prefix()


@pytest.mark.parametrize("url", ["echo/", "http://testserver/echo/", "?a=b", "#"])
def test_a_url_that_is_no_path_of_the_project_never_gets_to_its_middleware(url: str):
    asked = WebSocketRequest(json.dumps({"url": url}), origin=Mounted(""))
    assert asked.error == {"error": "Resource not found.", "status_code": 404}


async def test_a_404_of_a_view_is_no_url_that_leads_nowhere():
    assert (await both(url="/fail/none/"))[0] == 404
    for url in ("/none/", "//echo/", "/%ff/"):
        assert await both(url=url) == {"error": "Resource not found.", "status_code": 404}
