from __future__ import annotations

import pytest

from grip_consumers.embedded.connection import Connection, Limits, Request, Response, Stage
from grip_consumers.embedded.effects import Accept, CloseClient, Drop, Effect, Reject, Send

from .rig import OPEN, close, control, event, text

GRIP = [(b"Content-Type", b"application/websocket-events"), (b"Sec-WebSocket-Extensions", b"grip")]


def connecting(**limits: int) -> Connection:
    return Connection([(b"host", b"here"), (b"upgrade", b"websocket")], "the-id", Limits(**limits))


def opened(**limits: int) -> Connection:
    connection = connecting(**limits)
    exchange(connection, OPEN)
    return connection


def exchange(connection: Connection, body: bytes, *headers: tuple[bytes, bytes]) -> list[Effect]:
    assert connection.next_request(b"signature") is not None
    return connection.response_received(Response(200, [*GRIP, *headers], body))


def body_of(request: Request | None) -> bytes | None:
    return None if request is None else request.body


def test_open_travels_alone_even_if_the_client_was_faster() -> None:
    connection = connecting()
    connection.message_received("early")
    assert body_of(connection.next_request(b"s")) == OPEN
    connection.response_received(Response(200, GRIP, OPEN))
    assert body_of(connection.next_request(b"s")) == event("TEXT", "early")


def test_there_is_one_request_at_a_time() -> None:
    connection = opened()
    connection.message_received("a")
    assert body_of(connection.next_request(b"s")) == event("TEXT", "a")
    connection.message_received("b")
    assert connection.next_request(b"s") is None
    connection.response_received(Response(200, GRIP, b""))
    assert body_of(connection.next_request(b"s")) == event("TEXT", "b")


def test_an_idle_connection_requests_nothing_until_a_tick() -> None:
    connection = opened()
    assert connection.next_request(b"s") is None
    connection.tick()
    assert body_of(connection.next_request(b"s")) == b""
    connection.response_received(Response(200, GRIP, b""))
    assert connection.next_request(b"s") is None


def test_a_tick_that_meets_messages_makes_one_ordinary_request() -> None:
    connection = opened()
    connection.tick()
    connection.message_received("a")
    assert body_of(connection.next_request(b"s")) == event("TEXT", "a")
    connection.response_received(Response(200, GRIP, b""))
    assert connection.next_request(b"s") is None


def test_a_tick_before_the_handshake_is_over_is_forgotten() -> None:
    connection = connecting()
    connection.tick()
    exchange(connection, OPEN)
    assert connection.next_request(b"s") is None


def test_accepting_comes_before_the_messages_of_the_same_response() -> None:
    effects = exchange(connecting(), OPEN + text("hi") + close(4000, "r") + text("late"))
    assert [type(effect) for effect in effects] == [Accept, Send, CloseClient]
    assert effects[1:] == [Send("hi"), CloseClient(4000, "r")]


def test_a_vanished_client_takes_its_waiting_messages_along() -> None:
    connection = opened()
    connection.message_received("a")
    connection.peer_vanished()
    assert body_of(connection.next_request(b"s")) == event("DISCONNECT")


def test_a_closing_client_is_heard_out_first() -> None:
    connection = opened(batch_events=2)
    for message in ("a", "b", "c"):
        connection.message_received(message)
    connection.peer_closed(4000, "r")
    bodies = []
    while (request := connection.next_request(b"s")) is not None:
        bodies.append(request.body)
        connection.response_received(Response(200, GRIP, b""))
    assert bodies == [event("TEXT", "a") + event("TEXT", "b"), event("TEXT", "c") + close(4000, "r")]
    assert connection.stage is Stage.DONE


def test_only_the_first_farewell_counts() -> None:
    connection = opened()
    connection.peer_closed(4000, "")
    connection.peer_vanished()
    assert body_of(connection.next_request(b"s")) == close(4000)
    connection.response_received(Response(500, [], b""))
    assert connection.next_request(b"s") is None
    assert connection.stage is Stage.DONE


def test_a_client_that_left_during_a_handshake_that_is_rejected_is_not_mentioned() -> None:
    connection = connecting()
    assert connection.next_request(b"s") is not None
    connection.peer_vanished()
    assert isinstance(connection.response_received(Response(403, [], b""))[0], Reject)
    assert connection.next_request(b"s") is None


def test_detaching_says_goodbye_to_the_backend_and_keeps_the_client() -> None:
    connection = opened()
    connection.message_received("a")
    exchange(connection, control("detach"))
    assert body_of(connection.next_request(b"s")) == event("CLOSE")
    connection.response_received(Response(200, GRIP, b""))
    assert connection.stage is Stage.OPEN
    connection.message_received("unheard")
    connection.tick()
    assert connection.next_request(b"s") is None
    connection.peer_closed(1000, "")
    assert connection.stage is Stage.DONE


def test_a_response_over_the_limit_drops_the_connection() -> None:
    connection = opened(response_bytes=10)
    connection.tick()
    (effect,) = exchange(connection, text("far too long"))
    assert isinstance(effect, Drop)
    assert "at most 10 bytes" in effect.reason


def test_the_size_of_a_text_message_is_counted_in_bytes() -> None:
    connection = opened(message_bytes=4)
    assert connection.message_received("éé") == []
    (effect,) = connection.message_received("ééé")
    assert isinstance(effect, Drop)


@pytest.mark.parametrize(
    ("sent", "expected"), [(b"5", 20.0), (b"30", 30.0), (b"0", None), (b"-1", None), (b"soon", None)]
)
def test_keep_alive_intervals_are_at_least_the_minimum_and_zero_ends_them(sent: bytes, expected: float | None) -> None:
    connection = connecting()
    exchange(connection, OPEN, (b"Keep-Alive-Interval", sent))
    assert connection.keep_alive_interval == expected


def test_a_keep_alive_interval_stays_until_another_response_changes_it() -> None:
    connection = connecting()
    exchange(connection, OPEN, (b"Keep-Alive-Interval", b"30"))
    connection.tick()
    exchange(connection, b"")
    assert connection.keep_alive_interval == 30


def test_a_failed_handshake_is_a_bad_gateway_and_a_later_failure_a_drop() -> None:
    connection = connecting()
    connection.next_request(b"s")
    (effect,) = connection.request_failed("why")
    assert isinstance(effect, Reject)
    assert effect.status == 502
    later = opened()
    later.tick()
    later.next_request(b"s")
    assert later.request_failed("why") == [Drop("why")]


def test_congestion_is_relieved_by_the_next_request() -> None:
    connection = opened(batch_events=2)
    connection.message_received("a")
    assert not connection.congested
    connection.message_received("b")
    assert connection.congested
    connection.next_request(b"s")
    assert not connection.congested


def test_another_message_prefix_may_be_chosen() -> None:
    connection = connecting()
    connection.next_request(b"s")
    headers = [GRIP[0], (b"sec-websocket-extensions", b'grip; message-prefix="x:"')]
    body = OPEN + event("TEXT", "x:hi") + event("TEXT", "m:lost") + event("BINARY", b"x:bin")
    effects = connection.response_received(Response(200, headers, body))
    assert effects[1:] == [Send("hi"), Send(b"bin")]
