"""EventStream and LongPoll: what a client and its proxy are answered, and what is published."""

from __future__ import annotations

import json
import logging
from datetime import date
from functools import wraps
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.middleware.http import ConditionalGetMiddleware
from django.test import RequestFactory
from django.utils import timezone, translation

from grip_consumers import mailbox, streams
from grip_consumers.exceptions import SubscriptionLimitExceeded
from grip_consumers.layers import get_channel_layer
from grip_consumers.naming import stream_channel
from grip_consumers.protocol import HeldResponse, StreamChunk
from grip_consumers.views import GripMiddleware
from grip_consumers.views.streams import EventStream, LongPoll
from tests import batches

wsgi_site = batches.wsgi_site


@pytest.fixture
def site(wsgi_site: batches.Site) -> batches.Site:
    return wsgi_site


class Clock:
    """The mailbox's."""

    now = 1_800_000_000.0


@pytest.fixture(autouse=True)
def clock(site: batches.Site, monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(mailbox.get(), "_clock", lambda: found.now)
    return found


#: What a client is told in a group in which nothing has happened: a while ago, in steps that many share.
IDLE = 1_799_999_995_000_000


class News(EventStream):
    groups = ["news"]

    def group_said(self, event: dict[str, Any]) -> None:
        for text in event["texts"]:
            self.send(text, event.get("name"))


class Count(LongPoll):
    groups = ["news"]

    async def group_said(self, event: dict[str, Any]) -> None:
        for text in event["texts"]:
            self.send(text, event.get("name"))


def _wrapped(method: Any) -> Any:
    @wraps(method)
    def wrapper(*args: Any) -> Any:
        return method(*args)

    return wrapper


def get(view: Any, path: str = "/news/", *, proxied: bool = True, **headers: str) -> HttpResponse:
    if proxied:
        headers["Grip_Sig"] = "signed"
    names = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    response: HttpResponse = view(RequestFactory().get(path, **names))  # type: ignore[arg-type]
    return response


def send(*texts: Any, group: str = "news", **event: Any) -> None:
    async_to_sync(get_channel_layer().group_send)(group, {"type": "group.said", "texts": texts, **event})


def channel(cls: type[Any], group: str = "news") -> str:
    return stream_channel("", group, streams.name_of(cls))


def link(response: HttpResponse) -> str:
    return response["Grip-Link"].partition(">")[0].removeprefix("<")


# Server-Sent Events -------------------------------------------------------------------------------------------------


def test_a_stream_begins_with_its_position_and_is_held(site: batches.Site) -> None:
    response = get(News.as_view())
    name = channel(News)
    assert response.content.decode() == f"id: {name}:{IDLE}\n\n"
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-store"
    assert response["Grip-Hold"] == "stream"
    assert response["Grip-Channel"] == f"{name}; prev-id={IDLE}; filter=build-id"
    assert response["Grip-Keep-Alive"] == r":\n\n; format=cstring; timeout=20"
    assert response["Grip-Set-Meta"] == f'id_format="{name}:%({name})s"'


def test_what_is_published_is_a_piece_of_the_stream(site: batches.Site) -> None:
    News.as_view()
    send("one", "two", name="said")
    (item,) = site.published
    assert item.channel == channel(News)
    assert item.message == StreamChunk(
        f"event: said\ndata: one\n\nevent: said\ndata: two\nid: %I.{channel(News)}:{item.id}\n\n"
    )


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ("a", ["data: a"]),
        ("", ["data: "]),
        ("a\nb\r\nc\rd\n", ["data: a", "data: b", "data: c", "data: d", "data: "]),
        ("x\nid: 7\nevent: y\n\nretry: 1", ["data: x", "data: id: 7", "data: event: y", "data: ", "data: retry: 1"]),
        ("100 %I", ["data: 100 %%I"]),
        ({"day": date(2026, 11, 21), "ä": None}, ['data: {"day": "2026-11-21", "\\u00e4": null}']),
        (5, ["data: 5"]),
    ],
)
def test_data_stay_within_their_event(site: batches.Site, data: Any, lines: list[str]) -> None:
    News.as_view()
    send(data)
    assert site.published[0].message.content.split("\n")[:-3] == lines


@pytest.mark.parametrize("name", ["a\nb", "a\rdata: x", "a\0", "\ud800"])
def test_a_name_that_is_no_name_fails_the_handler(
    site: batches.Site, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    News.as_view()
    send("x", name=name)
    assert site.published == []
    assert "Exception in tests.views.test_streams.News.group_said" in caplog.text


def test_a_client_that_comes_back_gets_what_it_missed(site: batches.Site) -> None:
    view = News.as_view()
    for text in ("a", "b 100 %"):
        send(text)
    first, second = (item.id for item in site.published)
    name = channel(News)
    response = get(view, last_event_id=f"{name}:{first}")
    assert response.content.decode() == f"id: {name}:{first}\n\ndata: b 100 %%\nid: {name}:{second}\n\n"
    assert response["Grip-Channel"].startswith(f"{name}; prev-id={second};")


def test_the_position_in_several_groups_grows_entry_by_entry(site: batches.Site) -> None:
    view = News.as_view(groups=["news", "b"])
    for group in ("news", "b", "news"):
        send(group, group=group)
    one, two, three = (item.id for item in site.published)
    news, other = channel(News), channel(News, "b")
    response = get(view, last_event_id=f"{news}:{int(one) - 1}.{other}:{int(two) - 1}")
    ids = [line for line in response.content.decode().split("\n") if line.startswith("id")]
    assert ids == [
        f"id: {news}:{int(one) - 1}.{other}:{int(two) - 1}",
        f"id: {news}:{one}.{other}:{int(two) - 1}",
        f"id: {news}:{one}.{other}:{two}",
        f"id: {news}:{three}.{other}:{two}",
    ]


class Greeting(News):
    keep_alive = None
    retry = 500

    async def initial(self) -> None:
        self.send(f"hello {self.request.path}", "greeting")


def test_initial_is_for_clients_of_whom_it_is_not_known_what_they_have(site: batches.Site) -> None:
    view = Greeting.as_view()
    send("a")
    position = f"{channel(Greeting)}:{site.published[0].id}"
    for known in ("", "nonsense", f"{channel(Greeting)}:5"):
        body = get(view, last_event_id=known).content.decode()
        assert body.startswith("retry: 500\n\nevent: greeting\ndata: hello /news/\nid: ")
        assert body.endswith(f"id: {position}\n\n")
    response = get(view, last_event_id=position)
    assert response.content.decode() == f"retry: 500\n\nid: {position}\n\n"
    assert "Grip-Keep-Alive" not in response


def test_without_a_proxy_a_client_is_told_what_to_do(site: batches.Site) -> None:
    for view in (News.as_view(), Count.as_view()):
        response = get(view, proxied=False)
        assert response.status_code == 501
        assert b"Connect to the proxy's port" in response.content


def test_a_signature_that_does_not_verify_is_none(site: batches.Site, settings: Any) -> None:
    settings.GRIP_PROXIES = [{"control_uri": "http://localhost:5561", "key": "a secret that signs for the proxy"}]
    assert get(News.as_view()).status_code == 501


# Next links ---------------------------------------------------------------------------------------------------------


class Private(LoginRequiredMixin, News):
    """Only for users."""

    def get_groups(self) -> list[str]:
        return [f"user-{self.request.user.pk}"]


class User:
    is_authenticated = True
    pk = 5


def test_the_proxy_follows_a_link_without_the_client_s_cookies(site: batches.Site) -> None:
    view = Private.as_view()
    request = RequestFactory().get("/private/?x=1", headers={"Grip-Sig": "signed"})
    request.user = User()  # type: ignore[assignment]
    response = view(request)
    for text in ("a", "b"):
        send(text, group="user-5")
    one, two = (item.id for item in site.published)
    name = channel(Private, "user-5")
    followed = get(view, f"/private/{link(response)}", grip_last=f"{name}; last-id={one}")
    assert followed.content.decode() == f"data: b\nid: {name}:{two}\n\n"
    assert followed["Grip-Channel"] == f"{name}; prev-id={two}; filter=build-id"
    assert followed["Grip-Link"].endswith("timeout=42")


def _never(request: HttpRequest) -> HttpResponse:
    raise AssertionError("nobody else is to be asked")


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_middleware_answers_a_next_link_before_anybody_asks_who_it_is(site: batches.Site, way: str) -> None:
    Private.as_view()
    send("a", group="user-5")
    query = streams.next_link(Private, [channel(Private, "user-5")])
    last = f"{channel(Private, 'user-5')}; last-id={IDLE}"
    request = RequestFactory().get(f"/{query}", headers={"Grip-Sig": "signed", "Grip-Last": last})

    async def anever(request: HttpRequest) -> HttpResponse:
        return _never(request)

    async def answer() -> HttpResponse:
        response: HttpResponse = await GripMiddleware(anever)(request)  # type: ignore[misc]
        return response

    ways: dict[str, Any] = {"async": async_to_sync(answer), "sync": lambda: GripMiddleware(_never)(request)}
    response = ways[way]()
    assert response.content.startswith(b"data: a\nid: ")
    plain = GripMiddleware(lambda request: HttpResponse("view"))(RequestFactory().get("/?x=1"))
    assert plain.content == b"view"  # type: ignore[union-attr]


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(
    "query", ["%67rip-next=1", "xgrip-next=1", "x=grip-next", "&".join(f"a{number}=1" for number in range(1_100))]
)
def test_what_is_no_next_link_is_a_request_like_others(site: batches.Site, settings: Any, way: str, query: str) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"proxied: {request.grip.proxied}")  # type: ignore[attr-defined]

    async def answer() -> HttpResponse:
        response: HttpResponse = await GripMiddleware(view)(request)  # type: ignore[misc]
        return response

    request = RequestFactory().get(f"/?{query}")
    ways: dict[str, Any] = {
        "async": async_to_sync(answer),
        "sync": lambda: GripMiddleware(async_to_sync(view))(request),
    }
    assert ways[way]().content == b"proxied: False"


def test_a_link_with_nothing_in_it_is_refused_before_any_view(site: batches.Site) -> None:
    response: Any = GripMiddleware(_never)(RequestFactory().get(f"/?{streams.LINK}="))
    assert response.status_code == 403


def test_a_stream_of_which_something_is_lost_ends_so_that_its_client_comes_back(
    site: batches.Site, clock: Clock
) -> None:
    view = Greeting.as_view()
    response = get(view)
    name = channel(Greeting)
    send("one")
    position = site.published[0].id
    send("two")
    clock.now += 61
    send("three")
    followed = get(view, f"/{link(response)}", grip_last=f"{name}; last-id={position}")
    assert (followed.content, "Grip-Hold" in followed, followed["Content-Type"]) == (b"", False, "text/event-stream")
    body = get(view, last_event_id=f"{name}:{position}").content.decode()
    # Whoever is cut off before the end of what initial() sent gets it again.
    before, _, behind = body.partition("data: hello /news/\n")
    assert "id:" not in before
    assert "data: three\n" in behind


@pytest.mark.parametrize("began", [True, False])
def test_a_link_of_an_idle_group_is_answered_with_a_hold(site: batches.Site, clock: Clock, began: bool) -> None:
    view = News.as_view()
    if began:
        send("one")
    response = get(view)
    name = channel(News)
    for _ in range(4):
        last = response["Grip-Channel"].partition("prev-id=")[2].partition(";")[0]
        clock.now += int(response["Grip-Link"].rpartition("=")[2]) + 3
        response = get(view, f"/{link(response)}", grip_last=f"{name}; last-id={last}")
        assert (response["Grip-Hold"], response.content) == ("stream", b"")
    clock.now += 10
    send("two")
    response = get(view, f"/{link(response)}", grip_last=f"{name}; last-id={last}")
    assert response.content.decode() == f"data: two\nid: {name}:{site.published[-1].id}\n\n"


# Sizes --------------------------------------------------------------------------------------------------------------


def test_a_first_response_is_small_and_its_link_brings_the_rest(site: batches.Site) -> None:
    view = News.as_view()
    send("begin")
    known = site.published[0].id
    texts = [f"{number} {'%' * 1_000}" for number in range(600)]
    for text in texts:
        send(text)
    name = channel(News)
    response = get(view, last_event_id=f"{name}:{known}")
    got = response.content.decode()
    assert 50_000 < len(response.content) <= 60_000
    while response["Grip-Link"].endswith("timeout=1"):
        (last,) = {
            response["Grip-Channel"].split(";")[1].strip(),
            f"prev-id={got.split('id: ')[-1].split(':')[1].strip()}",
        }
        response = get(view, f"/{link(response)}", grip_last=f"{name}; {last.replace('prev', 'last')}")
        assert len(response.content) <= 500_000
        got += response.content.decode()
    assert [line[6:].replace("%%", "%") for line in got.split("\n") if line.startswith("data")] == texts


def test_an_event_larger_than_a_first_response_comes_by_the_link(site: batches.Site) -> None:
    view = News.as_view()
    for text in ("begin", "x" * 600_000):
        send(text)
    name, known = channel(News), site.published[0].id
    response = get(view, last_event_id=f"{name}:{known}")
    assert response.content.decode() == f"id: {name}:{known}\n\n"
    followed = get(view, f"/{link(response)}", grip_last=f"{name}; last-id={known}")
    assert len(followed.content) > 600_000
    assert followed["Grip-Link"].endswith("timeout=42")


def test_what_no_proxy_takes_at_first_is_told(site: batches.Site, caplog: pytest.LogCaptureFixture) -> None:
    class Vast(News):
        def initial(self) -> None:
            self.send("%" * 50_000)

    assert get(Vast.as_view()).status_code == 200
    assert "Vast.initial() made 100," in caplog.text


def test_a_client_gets_nothing_by_making_a_link_up(site: batches.Site) -> None:
    view = Private.as_view()
    made_up = f"/private/?{streams.LINK}=tests.views.test_streams:Private/{channel(Private, 'user-5')}:c2lnbmF0dXJl"
    assert get(view, made_up, grip_last=f"{channel(Private, 'user-5')}; last-id={IDLE}").status_code == 403


def test_a_client_that_may_not_is_refused(site: batches.Site) -> None:
    class Refusing(News):
        def get_groups(self) -> list[str]:
            raise PermissionDenied

    with pytest.raises(PermissionDenied):
        get(Refusing.as_view())
    request = RequestFactory().get("/news/", headers={"Grip-Sig": "signed"})
    request.user = type("Anonymous", (), {"is_authenticated": False})()
    assert login_required(News.as_view())(request).status_code == 302


def test_a_proxy_that_cannot_write_positions_is_named(site: batches.Site) -> None:
    for view in (News.as_view(), Count.as_view()):
        assert get(view, grip_feature="link:next, filter:build-id").status_code == 200
        response = get(view, grip_feature="link:next, filter:skip-users")
        assert response.status_code == 501
        assert b"filter:build-id" in response.content


# Views and handlers -------------------------------------------------------------------------------------------------


def test_a_handler_has_no_request(site: batches.Site, caplog: pytest.LogCaptureFixture) -> None:
    class Asking(EventStream):
        groups = ["news"]

        def group_said(self, event: Any) -> None:
            self.send(self.request.path)

    view = Asking.as_view()
    send("x")
    assert site.published == []
    assert "Asking's handlers have no self.request: they run once for all clients" in caplog.text
    assert get(view).status_code == 200
    with pytest.raises(AttributeError, match="'Asking' object has no attribute 'nothing'"):
        _ = Asking().nothing


def test_a_handler_runs_in_the_project_s_language_and_time_zone(site: batches.Site) -> None:
    class Telling(EventStream):
        def group_said(self, event: Any) -> None:
            self.send([translation.get_language(), timezone.get_current_timezone_name()])

    Telling.as_view()
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        send("x")
    assert site.published[0].message.content.startswith('data: ["en-us", "America/Chicago"]\n')


def test_a_decorated_handler_is_awaited_all_the_same(site: batches.Site) -> None:
    class Wrapped(EventStream):
        @_wrapped
        async def group_said(self, event: Any) -> None:
            self.send("heard")

        @_wrapped
        async def get_groups(self) -> list[str]:
            return ["news"]

    view = Wrapped.as_view()
    send("x")
    assert site.published[0].message.content.startswith("data: heard\n")
    assert channel(Wrapped) in get(view)["Grip-Channel"]


def test_a_view_that_cannot_be_made_without_a_request_is_told_in_the_log(
    site: batches.Site, caplog: pytest.LogCaptureFixture
) -> None:
    class Needy(News):
        def __init__(self, *, needed: int) -> None:
            super().__init__()

    Needy.as_view()
    send("x")
    assert (site.published, "Exception in tests.views.test_streams" in caplog.text) == ([], True)


@pytest.mark.parametrize("base", [EventStream, LongPoll])
def test_what_json_cannot_say_is_an_error(base: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        base().send({"price": float("nan")})


@pytest.mark.parametrize(
    "kind", ["get", "send", "initial", "get_groups", "dispatch", "groups", "http.method.not.allowed"]
)
def test_an_event_reaches_handlers_alone(site: batches.Site, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    News.as_view()
    with caplog.at_level(logging.WARNING):
        async_to_sync(get_channel_layer().group_send)("news", {"type": kind, "texts": ["x"]})
    assert (site.published, caplog.text) == ([], "")


def test_as_view_takes_no_attribute_that_handlers_might_read() -> None:
    with pytest.raises(TypeError, match=r"News\.as_view\(\) takes the argument 'groups' alone, not keep_alive"):
        News.as_view(keep_alive=5)
    view: Any = News.as_view()
    assert view.view_class is News


@pytest.mark.parametrize(
    ("groups", "error"),
    [
        ([], ImproperlyConfigured),
        ("news", ImproperlyConfigured),
        (["no/name"], TypeError),
        ([f"g{n}" for n in range(21)], SubscriptionLimitExceeded),
    ],
)
def test_groups_that_are_none_are_an_error(site: batches.Site, groups: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        get(News.as_view(groups=groups))


def test_only_get_is_answered(site: batches.Site) -> None:
    for cls in (News, Count):
        request = RequestFactory().post("/", headers={"Grip-Sig": "signed"})
        assert cls.as_view()(request).status_code == 405


@pytest.mark.parametrize("middleware", [GZipMiddleware, ConditionalGetMiddleware])
def test_no_middleware_packs_or_tags_what_is_held(site: batches.Site, middleware: Any) -> None:
    class Long(News):
        def initial(self) -> None:
            self.send("x" * 1_000)

    request = RequestFactory().get("/", headers={"Grip-Sig": "signed", "Accept-Encoding": "gzip"})
    plain = Long.as_view()(request)
    assert middleware(lambda request: Long.as_view()(request))(request).content == plain.content
    assert "ETag" not in middleware(Long.as_view())(request).headers


# Long-polling -------------------------------------------------------------------------------------------------------


def test_a_poll_without_a_position_is_answered_at_once(site: batches.Site) -> None:
    class Counting(Count):
        def initial(self) -> None:
            self.send({"count": 5}, "now")

    response = get(Counting.as_view())
    assert json.loads(response.content) == {
        "id": f"{channel(Counting)}:{IDLE}",
        "events": [{"event": "now", "data": {"count": 5}}],
    }
    assert "Grip-Hold" not in response
    assert (response["Content-Type"], response["Cache-Control"]) == ("application/json", "no-store")
    assert response["ETag"] == f'"{channel(Counting)}:{IDLE}"'


def test_a_poll_gets_what_came_since(site: batches.Site) -> None:
    view = Count.as_view()
    since = json.loads(get(view).content)["id"]
    for text in ("a", {"b": 1}):
        send(text)
    answer = json.loads(get(view, f"/?since={since}").content)
    assert answer["events"] == [{"event": None, "data": "a"}, {"event": None, "data": {"b": 1}}]
    assert answer["id"] == f"{channel(Count)}:{site.published[1].id}"


def test_a_poll_that_finds_nothing_is_held(site: batches.Site) -> None:
    view = Count.as_view()
    answer = get(view)
    since = json.loads(answer.content)["id"]
    held = get(view, f"/?since={since}")
    assert json.loads(held.content) == {"id": since, "events": []}
    assert (held["Grip-Hold"], held["Grip-Timeout"]) == ("response", "25")
    assert held["Grip-Channel"] == f"{channel(Count)}; prev-id={IDLE}; filter=build-id"
    assert "Grip-Status" not in held


def test_a_poll_with_an_etag_is_told_304_when_the_time_is_over(site: batches.Site) -> None:
    view = Count.as_view()
    held = get(view, if_none_match=get(view)["ETag"])
    assert (held["Grip-Hold"], held["Grip-Status"], held.content) == ("response", "304", b"")
    send("a")
    assert json.loads(get(view, if_none_match=held["ETag"]).content)["events"] == [{"event": None, "data": "a"}]
    for unknown in ("*", '"other"', ""):
        assert "Grip-Hold" not in get(view, if_none_match=unknown)


def test_what_is_published_is_a_whole_answer(site: batches.Site) -> None:
    Count.as_view()
    send("100 %", name="n")
    (item,) = site.published
    assert isinstance(item.message, HeldResponse)
    assert item.message.body == (
        f'{{"id": "%I.{channel(Count)}:{item.id}", "events": [{{"event": "n", "data": "100 %%"}}]}}'
    )
    assert ("ETag", f'"{channel(Count)}:{item.id}"') in item.message.headers
    assert ("Content-Type", "application/json") in item.message.headers


def test_a_link_to_a_poll_is_answered_though_nobody_follows_one(site: batches.Site) -> None:
    view = Count.as_view()
    send("a")
    query = streams.next_link(Count, [channel(Count)])
    answer = get(view, f"/{query}", grip_last=f"{channel(Count)}; last-id={IDLE}")
    assert json.loads(answer.content)["events"] == [{"event": None, "data": "a"}]


def test_a_poll_that_is_held_is_not_made_a_304_by_a_middleware(site: batches.Site) -> None:
    view = Count.as_view()
    tag = get(view)["ETag"]
    held = get(ConditionalGetMiddleware(view), if_none_match=tag)
    assert (held.status_code, held["Grip-Hold"], held["ETag"]) == (200, "response", tag)


def test_a_plain_request_is_no_next_link() -> None:
    from grip_consumers.views.streams import answer_next_link

    assert answer_next_link(HttpRequest()) is None
