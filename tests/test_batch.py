"""The batch as a server: what is current when, and what an application may send."""

from __future__ import annotations

import asyncio
import copy
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from grip_consumers import conf
from grip_consumers.batch import EXTENSION, Batch, EndOfBatch, current_batch
from grip_consumers.exceptions import HandlerFailed, StopConsumer, SubscriptionLimitExceeded
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.handshake import BatchRequest
from grip_consumers.mail import Discard, Event, Frames, Join, Outcome, Shut
from grip_consumers.protocol import Close, Disconnect, Exchange, LocalProtocolError, Open, Ping, State, Text, decode

from . import batches
from .batches import importable

site = batches.site
wsgi_site = batches.wsgi_site


def make(*events, features=frozenset({"filter:skip-users"})):
    def scope():
        return {"type": "websocket", "path": "/ws/", "headers": [], "extensions": {}}

    request = BatchRequest("c", None, None, b"", "/ws/", scope, features)
    batch = Batch(request, Exchange(list(events)), conf.get())
    batch.channel_name, batch.consumer_name = "specific.grip!abc", "a:B"
    return batch


def test_messages_come_as_an_asgi_server_gives_them():
    batch = make(Text("a"), Ping(), Close(4000, "why"))
    assert list(batch.messages()) == [
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "why"},
    ]


def test_group_events_come_before_the_next_frame():
    batch = make(Text("a"), Text("b"))
    found = []
    for message in batch.messages():
        found.append(message.get("text") or message["type"])
        if message.get("text") == "a":
            batch.deliver({"type": "one"})
            batch.deliver({"type": "two"})
    assert found == ["a", "one", "two", "b"]


def test_who_always_sends_to_itself_is_told_to_go_on_by_mail_and_gets_the_next_frame():
    batch = make(Text("a"), Text("b"))
    found = []
    batch.deliver({"type": "first"})
    for message in batch.messages():
        found.append(message.get("text") or message["type"])
        if batch.takes_own():
            batch.deliver({"type": "again"})
    # Nothing that it sends later may overtake what has gone by mail.
    assert found == ["first", *["again"] * 99, "a", "b"]
    assert batch.mailed


def test_a_slow_chain_of_events_to_itself_ends_after_half_a_second(monkeypatch):
    clock = iter(range(1, 100))
    monkeypatch.setattr("grip_consumers.batch.monotonic", lambda: next(clock) / 5)
    batch = make(Text("a"))
    found = []
    for message in batch.messages():
        found.append(message.get("text") or message["type"])
        if batch.takes_own():
            batch.deliver({"type": "again"})
    assert found == ["a", *["again"] * 3]


def test_however_much_a_handler_sends_to_itself_at_once_is_handled_at_once():
    batch = make(Text("a"))
    found = 0
    for message in batch.messages():
        found += 1
        if "text" in message:
            for _ in range(300):
                assert batch.takes_own()
                batch.deliver({"type": "one"})
        elif message["type"] == "one":
            assert batch.takes_own()
            batch.deliver({"type": "two"})
    assert found == 601


def test_before_the_accept_no_mail_would_come():
    batch = make(Open(), Text("a"))
    found = 0
    for message in batch.messages():
        if message["type"] == "again" and found == 200:
            batch.emit({"type": "websocket.accept"})
            assert not batch.takes_own()
            break
        found += 1
        assert batch.takes_own()
        batch.deliver({"type": "again"})
    assert found == 200


def test_what_nobody_sent_is_no_link_of_a_chain(monkeypatch):
    clock = iter(range(1, 100))
    monkeypatch.setattr("grip_consumers.batch.monotonic", lambda: next(clock))
    batch = make()
    batch.deliver({"type": "grip.tick"}, follows=False)
    for _ in batch.messages():
        assert batch.takes_own()


async def test_receive_ends_the_batch_when_there_is_nothing_more():
    batch = make(Disconnect())
    assert await batch.receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    for _ in range(2):
        with pytest.raises(EndOfBatch):
            await batch.receive()


def test_the_end_of_a_batch_is_no_exception_that_middleware_could_take_for_a_failure():
    assert not issubclass(EndOfBatch, Exception)


def test_the_user_says_nothing_about_the_connection_id_and_has_no_comma():
    assert make().user == "abc"


def test_the_base_scope_is_made_once_and_holds_the_batch():
    batch = make()
    assert batch.base_scope is batch.base_scope
    assert batch.base_scope["extensions"][EXTENSION] is batch


def test_a_message_of_an_unknown_type_is_refused_by_name():
    with pytest.raises(ValueError, match="'http\\.response\\.start'"):
        make().emit({"type": "http.response.start"})


@pytest.mark.parametrize("content", [{}, {"text": None}, {"text": None, "bytes": None}])
def test_a_frame_without_content_is_refused(content):
    with pytest.raises(ValueError, match="needs 'text' or 'bytes'"):
        make().emit({"type": "websocket.send", **content})


def test_text_wins_over_bytes_and_empty_ones_count():
    batch = make()
    batch.emit({"type": "websocket.send", "text": "", "bytes": b"x"})
    batch.emit({"type": "websocket.send", "text": None, "bytes": b""})
    assert batch.exchange.response().body == b"TEXT 2\r\nm:\r\nBINARY 2\r\nm:\r\n"


def test_a_second_accept_is_an_error():
    batch = make(Open())
    batch.emit({"type": "websocket.accept"})
    with pytest.raises(LocalProtocolError):
        batch.emit({"type": "websocket.accept"})


def test_a_denial_must_start_before_its_body():
    with pytest.raises(ValueError, match="must follow"):
        make(Open()).emit({"type": "websocket.http.response.body", "body": b""})


def test_a_denial_that_never_ends_is_a_refusal():
    batch = make(Open())
    messages = batch.messages()
    next(messages)
    batch.emit({"type": "websocket.http.response.start", "status": 401, "headers": []})
    batch.emit({"type": "websocket.http.response.body", "body": b"x", "more_body": True})
    assert next(messages) == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert batch.exchange.response().status in {401, 403}


def test_a_wrong_close_code_is_an_error_and_changes_nothing():
    batch = make(Text("x"))
    with pytest.raises(LocalProtocolError):
        batch.emit({"type": "websocket.close", "code": 5})
    assert batch.exchange.state is State.OPEN
    batch.emit({"type": "websocket.close", "code": 4001})
    assert batch.exchange.state is State.CLOSING


def test_the_first_close_counts_and_its_end_is_not_reported_in_this_batch():
    """The proxy reports it in another one, when the client has answered."""
    batch = make(Text("x"))
    batch.emit({"type": "websocket.close", "code": 4001})
    batch.emit({"type": "websocket.close", "code": 4002})
    assert [message["type"] for message in batch.messages()] == ["websocket.receive"]
    assert decode(batch.exchange.response().body) == [Close(4001)]


@pytest.mark.parametrize("more", [(), (Text("a"),)])
def test_a_rejection_ends_with_one_disconnect_in_the_same_batch(more):
    batch = make(Open(), *more)
    messages = batch.messages()
    assert next(messages)["type"] == "websocket.connect"
    batch.emit({"type": "websocket.close"})
    found = [message for message in messages if message["type"] != "websocket.receive"]
    assert found == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_a_client_that_has_left_a_refused_handshake_is_reported_once():
    batch = make(Open(), Close(4000))
    messages = batch.messages()
    next(messages)
    batch.emit({"type": "websocket.close"})
    assert [message["type"] for message in messages] == ["websocket.disconnect"]


def test_an_answered_batch_refuses_what_is_sent_and_names_the_consumer():
    batch = make(Text("x"))
    batch.release()
    with pytest.raises(RuntimeError, match=r"^a:B has sent 'websocket\.send' after its batch was answered"):
        batch.emit({"type": "websocket.send", "text": "late"})
    assert batch.exchange.response().body == b""


def test_a_deep_copy_of_a_scope_shares_the_batch():
    batch = make()
    copied = copy.deepcopy(batch.base_scope)
    assert copied["extensions"][EXTENSION] is batch
    assert copied["headers"] is not batch.base_scope["headers"]


def test_joining_twice_subscribes_once_and_keeps_the_first_cursor():
    batch = make()
    batch.join("g", 5)
    batch.join("g", 7)
    assert batch.groups == {"g": 5}
    assert batch.joins == {"g"}
    assert batch.exchange.response().body.count(b'"subscribe"') == 1


def test_the_limit_is_kept_and_counts_the_private_channel():
    batch = make()
    for number in range(19):
        batch.join(f"g{number}", 0)
    batch.join("g3", 0)
    with pytest.raises(SubscriptionLimitExceeded):
        batch.can_join("g19")
    with pytest.raises(SubscriptionLimitExceeded):
        batch.join("g19", 0)
    assert "g19" not in {*batch.groups, *batch.inbox.joined, *batch.joins}
    batch.leave("nothing")
    batch.leave("g3")
    batch.join("g19", 0)
    assert len(batch.groups) == 19
    assert batch.exchange.response().body.count(b'"subscribe"') == 20


def test_who_leaves_again_has_not_joined():
    batch = make()
    batch.join("g", 5)
    batch.leave("g")
    assert (batch.groups, batch.joins, batch.inbox.joined) == ({}, set(), {})


def test_the_features_of_the_proxy_decide_on_the_filter():
    for features, filters in [(frozenset(), b""), (frozenset({"filter:skip-users"}), b'"skip-users"')]:
        batch = make(features=features)
        batch.join("g", 0)
        assert (b"filters" in batch.exchange.response().body) is bool(filters)
        assert filters in batch.exchange.response().body


# Mail ----------------------------------------------------------------------------------------------------


def test_mail_is_handled_before_the_clients_messages_and_in_order():
    batch = make(Text("a"))
    batch.groups["g"] = 0
    batch.post(Event({"type": "one"}))
    batch.post(Event({"type": "two"}, copy_of="g"))
    assert [message.get("text") or message["type"] for message in batch.messages()] == ["one", "two", "a"]
    assert batch.copied == {"g"}


def test_an_event_of_a_group_is_for_those_alone_who_are_in_it_by_then():
    batch = make()
    batch.post(Event({"type": "one"}, group="g"))
    batch.post(Join("g", 3))
    batch.post(Event({"type": "two"}, group="g"))
    batch.post(Discard("g"))
    batch.post(Event({"type": "three"}, group="g"))
    assert list(batch.messages()) == [{"type": "two"}]


def test_a_copy_for_who_could_not_join_is_not_handled():
    batch = make()
    batch.post(Event({"type": "one"}, copy_of="g"))
    assert list(batch.messages()) == []
    assert batch.copied == {"g"}


def test_frames_of_a_handler_that_ran_elsewhere_are_sent_as_they_are():
    batch = make()
    batch.post(Frames(["a", b"b", ""]))
    assert list(batch.messages()) == []
    assert batch.exchange.response().body == b"TEXT 3\r\nm:a\r\nBINARY 3\r\nm:b\r\nTEXT 2\r\nm:\r\n"


def test_a_close_of_a_handler_that_ran_elsewhere_comes_behind_its_frames():
    batch = make()
    batch.post(Frames(["a"], shut=(4000, "why")))
    assert list(batch.messages()) == []
    assert decode(batch.exchange.response().body) == [Text("m:a"), Close(4000, "why")]


@pytest.mark.parametrize(("outcome", "error"), [(Outcome.FAILED, HandlerFailed), (Outcome.STOPPED, StopConsumer)])
def test_a_handler_that_ended_elsewhere_ends_here_behind_its_frames(outcome, error):
    batch = make(Text("never"))
    batch.post(Frames(["a"], outcome))
    with pytest.raises(error):
        next(batch.messages())
    assert batch.exchange.response().body == b"TEXT 3\r\nm:a\r\n"


def test_mail_can_join_and_leave_and_close():
    batch = make()
    for entry in (Join("g", 3), Join("h", 4), Discard("g"), Discard("nothing"), Shut(4000, "why")):
        batch.post(entry)
    assert list(batch.messages()) == []
    assert (batch.groups, batch.joins) == ({"h": 4}, {"h"})
    assert decode(batch.exchange.response().body)[-1] == Close(4000, "why")


def test_a_group_too_many_that_somebody_else_wanted_is_logged_and_harms_nobody(caplog):
    batch = make()
    for number in range(20):
        batch.groups[f"g{number}"] = 0
    batch.post(Join("g20", 3))
    batch.post(Event({"type": "one"}))
    assert list(batch.messages()) == [{"type": "one"}]
    assert "g20" not in batch.groups
    assert ["a:B was to be added to a group from elsewhere" in record.getMessage() for record in caplog.records] == [
        True
    ]


def test_a_revoked_connection_is_closed_with_4401_and_hears_of_its_end_alone():
    batch = make(Text("a"), Text("b"))
    batch.revoked = True
    assert list(batch.messages()) == []
    assert decode(batch.exchange.response().body) == [Close(4401)]
    batch = make(Text("a"), Close(4000))
    batch.revoked = True
    assert [message["type"] for message in batch.messages()] == ["websocket.disconnect"]
    assert decode(batch.exchange.response().body) == [Close(4000)]


def test_the_private_channel_is_subscribed_last_and_without_filter():
    batch = make(Open())
    batch.join("g", 0)
    batch.emit({"type": "websocket.accept"})
    controls = [event.text for event in decode(batch.exchange.response().body) if isinstance(event, Text)]
    assert "specific.grip!abc" in controls[-1]
    assert "filters" not in controls[-1]
    assert len(controls) == 3
    assert batch.inbox.unproven > 0


def test_a_limit_of_0_leaves_out_the_private_channel(settings):
    settings.GRIP_SUBSCRIPTION_LIMIT = 0
    batch = make(Open())
    batch.emit({"type": "websocket.accept"})
    assert b"subscribe" not in batch.exchange.response().body
    assert batch.inbox.unproven == 0


# The current batch ---------------------------------------------------------------------------------------


def test_there_is_no_current_batch_outside_of_one():
    assert current_batch() is None


def test_the_current_batch_is_seen_from_sync_parts_and_async_parts(site):
    seen = []

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            seen.append(current_batch())
            seen.append(await sync_to_async(current_batch)())

    @importable
    class Sync(WebsocketConsumer):
        def receive(self, **kwargs):
            async def inside():
                return current_batch()

            seen.append(async_to_sync(inside)())
            seen.append(current_batch())

    site.serve(Chat, sync=Sync)
    site.opened().post(Text("x"))
    site.opened("/sync/").post(Text("x"))
    assert None not in seen
    assert seen[0] is seen[1]
    assert seen[2] is seen[3]
    assert seen[0] is not seen[2]
    assert current_batch() is None


async def test_a_task_left_running_does_not_see_a_batch(settings, monkeypatch):
    site = batches.make_site("asgi", settings, monkeypatch)
    seen = []
    go = asyncio.Event()

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            tasks.append(asyncio.ensure_future(self.later()))

        async def later(self):
            await go.wait()
            seen.append(current_batch())

    tasks = []
    site.serve(Chat)
    client = site.client()
    await client.apost(Open())
    await client.apost(Text("x"))
    go.set()
    await asyncio.wait_for(tasks[0], 10)
    assert seen == [None]


def test_a_thread_of_its_own_does_not_see_the_batch(site):
    seen = []

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            thread = threading.Thread(target=lambda: seen.append(current_batch()))
            thread.start()
            thread.join(10)

    site.serve(Chat)
    site.opened().post(Text("x"))
    assert seen == [None]


def test_the_batch_is_over_after_an_exception(site, caplog):
    found = []

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            found.append(current_batch())
            raise RuntimeError

    site.serve(Chat)
    site.opened().post(Text("x"))
    assert not found[0].active
    assert current_batch() is None
