"""publish() and get_pubcontrol(), with gripcontrol's own formats."""

from __future__ import annotations

import threading

import gripcontrol
import pubcontrol
import pytest
from django.core.exceptions import ImproperlyConfigured

from grip_consumers import in_process
from grip_consumers.exceptions import PublishError
from grip_consumers.protocol import LocalProtocolError, StreamChunk, TextMessage
from grip_consumers.views.publishing import get_pubcontrol, publish

from ..control_ports import Proxy


@pytest.fixture
def proxy(settings):
    made = Proxy()
    settings.GRIP_PROXIES = [{"control_uri": made.uri}]
    yield made
    made.stop()


def published(proxy):
    get_pubcontrol().wait_all_sent()
    (item,) = proxy.items
    return item


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        (gripcontrol.HttpStreamFormat("é\n"), {"http-stream": {"content": "é\n"}}),
        (gripcontrol.HttpStreamFormat(b"\xff"), {"http-stream": {"content-bin": "/w=="}}),
        (gripcontrol.HttpStreamFormat(close=True), {"http-stream": {"action": "close"}}),
        (gripcontrol.WebSocketMessageFormat("a"), {"ws-message": {"content": "a"}}),
        (gripcontrol.WebSocketMessageFormat(b"\xff", binary=True), {"ws-message": {"content-bin": "/w=="}}),
        (
            gripcontrol.HttpResponseFormat(body="b", headers={"ETag": "1"}),
            {"http-response": {"headers": {"ETag": "1"}, "body": "b", "code": 200}},
        ),
        (gripcontrol.HttpResponseFormat("201", body="b"), {"http-response": {"code": 201, "body": "b"}}),
        # As django-grip's README has it: the body where the status stands.
        (
            gripcontrol.HttpResponseFormat("the body", headers={"ETag": "1"}),
            {"http-response": {"headers": {"ETag": "1"}, "body": "the body", "code": 200}},
        ),
        (gripcontrol.HttpResponseFormat("42"), {"http-response": {"body": "42", "code": 200}}),
        (gripcontrol.HttpResponseFormat(404), {"http-response": {"body": "", "code": 404}}),
        (gripcontrol.HttpResponseFormat(action="hint"), {"http-response": {"action": "hint"}}),
        (
            [gripcontrol.HttpStreamFormat("a"), TextMessage("b")],
            {"http-stream": {"content": "a"}, "ws-message": {"content": "b"}},
        ),
        (StreamChunk("a"), {"http-stream": {"content": "a"}}),
    ],
)
def test_formats_are_published_as_they_export_themselves(proxy, formats, expected):
    publish("news", formats)
    item = published(proxy)
    assert (item["channel"], item["formats"]) == ("news", expected)


def test_ids_and_meta_go_along_and_the_prefix_in_front(proxy, settings):
    settings.GRIP_PREFIX = "my-"
    publish("news", StreamChunk("a"), id=7, prev_id="6", meta={"skip_users": "a"}, blocking=True)
    item = published(proxy)
    assert (item["channel"], item["id"], item["prev-id"]) == ("my-news", "7", "6")
    assert item["meta"] == {"skip_users": "a"}


def test_what_is_published_without_waiting_keeps_its_order(proxy):
    for number in range(30):
        publish("news", TextMessage(str(number)))
    get_pubcontrol().wait_all_sent()
    assert proxy.texts == [str(number) for number in range(30)]


def test_a_failure_is_an_exception_or_is_told_and_logged(proxy, caplog):
    proxy.answer = lambda handler: handler.reply(500)
    with pytest.raises(PublishError):
        publish("news", StreamChunk("a"), blocking=True)
    outcomes = []
    publish("news", StreamChunk("a"), callback=lambda *outcome: outcomes.append(outcome))
    get_pubcontrol().wait_all_sent()
    publish("news", StreamChunk("a"))
    get_pubcontrol().wait_all_sent()
    ((succeeded, reason),) = outcomes
    assert not succeeded
    assert "expected status 200, got 500" in reason
    assert caplog.text.count("got 500") == 2


def test_a_success_is_told_once_for_all_proxies(proxy, settings):
    other = Proxy()
    try:
        settings.GRIP_PROXIES = [{"control_uri": proxy.uri}, {"control_uri": other.uri}]
        outcomes, threads = [], set()

        def done(*outcome):
            outcomes.append(outcome)
            threads.add(threading.current_thread())

        publish("news", StreamChunk("a"), callback=done)
        get_pubcontrol().wait_all_sent()
        assert outcomes == [(True, "")]
        assert threading.main_thread() not in threads
        assert (len(proxy.items), len(other.items)) == (1, 1)
    finally:
        other.stop()


def test_without_a_proxy_it_is_told_at_once(settings, monkeypatch):
    settings.GRIP_PROXIES = []
    outcomes = []
    publish("news", StreamChunk("a"), callback=lambda *outcome: outcomes.append(outcome))
    assert outcomes == [(True, "")]
    del settings.GRIP_PROXIES
    settings.DEBUG = False
    # A test run need not be told.
    monkeypatch.setattr(in_process, "is_test_run", lambda: False)
    with pytest.raises(ImproperlyConfigured, match="GRIP_URL"):
        publish("news", StreamChunk("a"))


@pytest.mark.parametrize(
    ("channel", "formats", "error"),
    [
        ("a\nb", StreamChunk("a"), LocalProtocolError),
        ("a", [], LocalProtocolError),
        ("a", [StreamChunk("a"), StreamChunk("b")], LocalProtocolError),
        ("a", "text", TypeError),
        ("a", gripcontrol.HttpResponseFormat("code?", body="body"), ValueError),
    ],
)
@pytest.mark.parametrize("blocking", [True, False])
def test_what_cannot_be_published_is_refused_where_it_is_said(proxy, channel, formats, error, blocking):
    with pytest.raises(error):
        publish(channel, formats, blocking=blocking)
    assert proxy.items == []


def test_the_facade_has_gripcontrols_methods(proxy, settings):
    settings.GRIP_PREFIX = "my-"
    facade = get_pubcontrol()
    facade.publish("a", pubcontrol.Item(gripcontrol.HttpStreamFormat("1"), id="x"), blocking=True)
    facade.publish_http_stream("a", "2", blocking=True)
    facade.publish_http_response("a", "3", blocking=True)
    facade.publish_http_response("a", gripcontrol.HttpResponseFormat(code=404), blocking=True)
    facade.finish()
    facade.close()
    assert [(item["channel"], item["formats"]) for item in proxy.items] == [
        ("a", {"http-stream": {"content": "1"}}),
        ("a", {"http-stream": {"content": "2"}}),
        ("a", {"http-response": {"code": 200, "body": "3"}}),
        ("a", {"http-response": {"code": 404, "body": ""}}),
    ]
    assert proxy.items[0]["id"] == "x"
    with pytest.raises(AttributeError, match=r"gripcontrol\.GripPubControl of your own"):
        facade.set_origin()
