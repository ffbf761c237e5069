"""The consumers' own behaviour, on Channels' classes and on ours; handlers are called as dispatch does."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import channels.exceptions
import channels.generic.websocket
import channels.layers
import pytest
from asgiref.sync import async_to_sync

import grip_consumers.exceptions
import grip_consumers.generic.websocket
import grip_consumers.layers
from grip_consumers.generic.websocket import AsyncWebsocketConsumer

Log = list[Any]

CONNECT = {"type": "websocket.connect"}
GONE = {"type": "websocket.disconnect", "code": 1001}
NO_GROUPS = "BACKEND is unconfigured or doesn't support groups"


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test may have left a connection open, which must not be looked at here."""
    for package in ("channels", "grip_consumers"):
        monkeypatch.setattr(f"{package}.db.close_old_connections", lambda: None)


@dataclass(frozen=True)
class Kind:
    """One of the four variants of each consumer."""

    package: Any
    exceptions: Any
    layers: Any
    asynchronous: bool

    def base(self, json: bool = False) -> type[Any]:
        name = f"{'Async' if self.asynchronous else ''}{'Json' if json else ''}WebsocketConsumer"
        found: type[Any] = getattr(self.package, name)
        return found

    def subclass(self, json: bool = False, **methods: Any) -> type[Any]:
        """A consumer with these methods; in the asynchronous variant they become coroutines, and what they
        return is awaited."""
        adapted = {name: self._adapted(value) for name, value in methods.items()}
        return type("Consumer", (self.base(json),), adapted)

    def _adapted(self, value: Any) -> Any:
        if isinstance(value, classmethod):
            return classmethod(self._adapted(value.__func__))
        if not self.asynchronous or not callable(value):
            return value

        async def method(*args: Any, **kwargs: Any) -> Any:
            result = value(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return method

    def attach(self, consumer: Any, log: Log, layer: Any = None) -> None:
        """Give the consumer what its entry point would."""
        consumer.scope = {"type": "websocket"}
        consumer.channel_layer = layer
        if layer is not None:
            consumer.channel_name = "specific.test!abc"
        consumer.base_send = self._adapted(log.append)

    def call(self, consumer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        method = getattr(consumer, name)
        return (async_to_sync(method) if self.asynchronous else method)(*args, **kwargs)


KINDS = {
    f"{name}-{'async' if asynchronous else 'sync'}": Kind(*modules, asynchronous)
    for name, modules in {
        "channels": (channels.generic.websocket, channels.exceptions, channels.layers),
        "grip": (grip_consumers.generic.websocket, grip_consumers.exceptions, grip_consumers.layers),
    }.items()
    for asynchronous in (False, True)
}

each = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


@dataclass
class Layer:
    """A channel layer with groups that writes down what is asked of it."""

    log: Log = field(default_factory=list)

    async def group_add(self, group: str, channel: str) -> None:
        self.log.append(("add", group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        self.log.append(("discard", group, channel))


@dataclass
class ImmediateLayer(Layer):
    """One that need not be waited for."""

    def group_add_now(self, group: str, channel: str) -> None:
        self.log.append(("add now", group, channel))

    def group_discard_now(self, group: str, channel: str) -> None:
        self.log.append(("discard now", group, channel))


def handle(kind: Kind, cls: type[Any], *messages: dict[str, Any], layer: Any = None) -> Log:
    """Pass messages to their handlers and return what was sent, with ``"stop"`` for StopConsumer."""
    consumer, log = cls(), layer.log if isinstance(layer, Layer) else []
    kind.attach(consumer, log, layer)
    for message in messages:
        try:
            kind.call(consumer, message["type"].replace(".", "_"), message)
        except kind.exceptions.StopConsumer:
            log.append("stop")
    return log


# connect


@each
def test_a_connection_is_accepted_unless_connect_says_otherwise(kind: Kind) -> None:
    log = handle(kind, kind.base(), CONNECT)
    assert log == [{"type": "websocket.accept", "subprotocol": None}]


@each
def test_connect_may_decide_nothing(kind: Kind) -> None:
    assert handle(kind, kind.subclass(connect=lambda self: None), CONNECT) == []


@each
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AcceptConnection", {"type": "websocket.accept", "subprotocol": None}),
        ("DenyConnection", {"type": "websocket.close"}),
    ],
)
def test_connect_may_decide_by_an_exception(kind: Kind, name: str, expected: dict[str, Any]) -> None:
    def connect(self: Any) -> None:
        raise getattr(kind.exceptions, name)

    assert handle(kind, kind.subclass(connect=connect), CONNECT) == [expected]


@each
def test_another_exception_of_connect_passes(kind: Kind) -> None:
    def connect(self: Any) -> None:
        raise LookupError("no such room")

    with pytest.raises(LookupError, match="no such room"):
        handle(kind, kind.subclass(connect=connect), CONNECT)


# Groups


@each
@pytest.mark.parametrize("json", [False, True])
def test_every_instance_has_its_own_list_of_groups(kind: Kind, json: bool) -> None:
    cls = kind.base(json)
    first, second = cls("ignored", ignored=True), cls()
    assert cls.groups is None
    assert first.groups == second.groups == []
    assert first.groups is not second.groups


@each
def test_groups_of_the_class_are_left_as_they_are(kind: Kind) -> None:
    cls = kind.subclass(groups=("one", "two"))
    assert cls().groups is cls.groups


@each
def test_groups_are_joined_before_connect_and_left_before_disconnect(kind: Kind) -> None:
    cls = kind.subclass(
        groups=["one", "two"],
        connect=lambda self: self.channel_layer.log.append("connect"),
        disconnect=lambda self, code: self.channel_layer.log.append(("disconnect", code)),
    )
    channel = "specific.test!abc"
    assert handle(kind, cls, CONNECT, GONE, layer=Layer()) == [
        ("add", "one", channel),
        ("add", "two", channel),
        "connect",
        ("discard", "one", channel),
        ("discard", "two", channel),
        ("disconnect", 1001),
        "stop",
    ]


class WithoutGroups:
    """A channel layer that lacks the extension."""


@each
@pytest.mark.parametrize("message", [CONNECT, GONE])
@pytest.mark.parametrize("layer", [None, WithoutGroups()])
def test_groups_need_a_layer_that_knows_groups(kind: Kind, message: dict[str, Any], layer: Any) -> None:
    with pytest.raises(kind.exceptions.InvalidChannelLayerError) as caught:
        handle(kind, kind.subclass(groups=["one"]), message, layer=layer)
    assert str(caught.value) == NO_GROUPS


@each
def test_without_groups_no_layer_is_needed(kind: Kind) -> None:
    accepted = {"type": "websocket.accept", "subprotocol": None}
    assert handle(kind, kind.base(), CONNECT, GONE) == [accepted, "stop"]


@each
def test_an_error_of_the_layer_passes(kind: Kind) -> None:
    class Refusing(Layer):
        async def group_add(self, group: str, channel: str) -> None:
            raise ConnectionError("no layer at that address")

    with pytest.raises(ConnectionError):
        handle(kind, kind.subclass(groups=["one"]), CONNECT, layer=Refusing())


def test_a_synchronous_consumer_calls_a_layer_that_need_not_be_waited_for() -> None:
    kind = KINDS["grip-sync"]
    log = handle(kind, kind.subclass(groups=["one"]), CONNECT, GONE, layer=ImmediateLayer())
    assert [entry[0] for entry in log if isinstance(entry, tuple)] == ["add now", "discard now"]


def test_an_asynchronous_consumer_awaits_any_layer() -> None:
    kind = KINDS["grip-async"]
    log = handle(kind, kind.subclass(groups=["one"]), CONNECT, GONE, layer=ImmediateLayer())
    assert [entry[0] for entry in log if isinstance(entry, tuple)] == ["add", "discard"]


@each
def test_a_mock_may_stand_for_the_layer(kind: Kind) -> None:
    layer = mock.AsyncMock()
    handle(kind, kind.subclass(groups=["one"]), CONNECT, GONE, layer=layer)
    layer.group_add.assert_awaited_once_with("one", "specific.test!abc")
    layer.group_discard.assert_awaited_once_with("one", "specific.test!abc")


# accept, send, close


def sent(kind: Kind, name: str, *args: Any, **kwargs: Any) -> Log:
    log: Log = []
    consumer = kind.base(json=True)()
    kind.attach(consumer, log)
    kind.call(consumer, name, *args, **kwargs)
    return log


@each
@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((), {}, {"subprotocol": None}),
        (("chat",), {}, {"subprotocol": "chat"}),
        ((), {"headers": [(b"x", b"y")]}, {"subprotocol": None, "headers": [(b"x", b"y")]}),
        ((), {"headers": ((b"x", b"y"),)}, {"subprotocol": None, "headers": [(b"x", b"y")]}),
        ((), {"headers": []}, {"subprotocol": None}),
    ],
)
def test_accept(kind: Kind, arguments: tuple[Any, ...], options: Any, expected: dict[str, Any]) -> None:
    assert sent(kind, "accept", *arguments, **options) == [{"type": "websocket.accept", **expected}]


@each
@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        (("text",), {}, {"text": "text"}),
        (("",), {}, {"text": ""}),
        ((None, b"bytes"), {}, {"bytes": b"bytes"}),
        ((), {"bytes_data": b""}, {"bytes": b""}),
        (("text", b"bytes"), {}, {"text": "text"}),
    ],
)
def test_send(kind: Kind, arguments: tuple[Any, ...], options: Any, expected: dict[str, Any]) -> None:
    assert sent(kind, "send", *arguments, **options) == [{"type": "websocket.send", **expected}]


@each
@pytest.mark.parametrize("options", [{}, {"close": True}])
def test_a_send_of_nothing_is_refused(kind: Kind, options: Any) -> None:
    with pytest.raises(ValueError, match="You must pass one of bytes_data or text_data"):
        sent(kind, "send", **options)


@each
@pytest.mark.parametrize(("close", "expected"), [(True, {}), (4000, {"code": 4000})])
def test_send_may_close_behind_the_frame(kind: Kind, close: bool | int, expected: dict[str, Any]) -> None:
    assert sent(kind, "send", "last", close=close) == [
        {"type": "websocket.send", "text": "last"},
        {"type": "websocket.close", **expected},
    ]


@each
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {}),
        ((None,), {}),
        ((True,), {}),
        ((4000,), {"code": 4000}),
        ((0,), {"code": 0}),
        ((4000, "over"), {"code": 4000, "reason": "over"}),
        ((None, "over"), {"reason": "over"}),
        ((4000, ""), {"code": 4000}),
    ],
)
def test_close(kind: Kind, arguments: tuple[Any, ...], expected: dict[str, Any]) -> None:
    assert sent(kind, "close", *arguments) == [{"type": "websocket.close", **expected}]


@each
def test_closing_behind_a_frame_goes_through_the_consumers_own_close(kind: Kind) -> None:
    log: Log = []
    consumer = kind.subclass(close=lambda self, code: log.append(("close", code)))()
    kind.attach(consumer, log)
    kind.call(consumer, "send", "last", close=4000)
    assert log == [{"type": "websocket.send", "text": "last"}, ("close", 4000)]


# receive


@each
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"text": "hello"}, {"text_data": "hello"}),
        ({"text": ""}, {"text_data": ""}),
        ({"bytes": b"hello"}, {"bytes_data": b"hello"}),
        ({"text": None, "bytes": b""}, {"bytes_data": b""}),
        ({"text": "hello", "bytes": None}, {"text_data": "hello"}),
        ({"text": "hello", "bytes": b"hello"}, {"text_data": "hello"}),
    ],
)
def test_receive_gets_the_text_or_the_bytes(kind: Kind, message: Any, expected: dict[str, Any]) -> None:
    got: list[Any] = []
    cls = kind.subclass(receive=lambda self, **frame: got.append(frame))
    handle(kind, cls, {"type": "websocket.receive", **message})
    assert got == [expected]


@each
def test_a_frame_without_text_and_bytes_is_an_error(kind: Kind) -> None:
    with pytest.raises(KeyError, match="bytes"):
        handle(kind, kind.base(), {"type": "websocket.receive"})


@each
def test_receive_and_disconnect_may_be_left_out(kind: Kind) -> None:
    assert handle(kind, kind.base(), {"type": "websocket.receive", "text": "hello"}, GONE) == ["stop"]


# JSON


def json_frame(text: str | None = None, data: bytes | None = None) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": text, "bytes": data}


@each
def test_receive_json_gets_the_decoded_text(kind: Kind) -> None:
    got: list[Any] = []
    cls = kind.subclass(json=True, receive_json=lambda self, content: got.append(content))
    handle(kind, cls, json_frame('{"a": [1, null]}'), json_frame("null"))
    assert got == [{"a": [1, None]}, None]


@each
@pytest.mark.parametrize("message", [json_frame(""), json_frame(data=b"{}"), json_frame(data=b"")])
def test_an_empty_or_binary_frame_is_an_error(kind: Kind, message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="No text section for incoming WebSocket frame!"):
        handle(kind, kind.base(json=True), message)


@each
def test_text_that_is_not_json_is_an_error(kind: Kind) -> None:
    with pytest.raises(json.JSONDecodeError):
        handle(kind, kind.base(json=True), json_frame("{"))


@each
def test_further_arguments_of_receive_reach_receive_json(kind: Kind) -> None:
    got: list[Any] = []
    consumer = kind.subclass(json=True, receive_json=lambda self, content, **more: got.append((content, more)))()
    kind.call(consumer, "receive", text_data="1", user="bob")
    assert got == [(1, {"user": "bob"})]


@each
def test_receive_json_may_be_left_out(kind: Kind) -> None:
    assert handle(kind, kind.base(json=True), json_frame("1")) == []


@each
@pytest.mark.parametrize(("close", "closing"), [(False, []), (4000, [{"type": "websocket.close", "code": 4000}])])
def test_send_json_encodes(kind: Kind, close: bool | int, closing: Log) -> None:
    text = {"type": "websocket.send", "text": '{"a": [1, null, "\\u00e9"]}'}
    assert sent(kind, "send_json", {"a": [1, None, "é"]}, close=close) == [text, *closing]


@each
def test_another_encoding_may_take_the_place_of_json(kind: Kind) -> None:
    got: list[Any] = []
    cls = kind.subclass(
        json=True,
        encode_json=classmethod(lambda cls, content: f"<{content}>"),
        decode_json=classmethod(lambda cls, text_data: text_data.strip("<>")),
        receive_json=lambda self, content: got.append(content),
    )
    log: Log = []
    consumer = cls()
    kind.attach(consumer, log)
    kind.call(consumer, "websocket_receive", json_frame("<hello>"))
    kind.call(consumer, "send_json", "hello")
    assert got == ["hello"]
    assert log == [{"type": "websocket.send", "text": "<hello>"}]


@each
def test_send_json_passes_over_an_overridden_send(kind: Kind) -> None:
    """As on Channels: it is the base class's `send` that sends the text."""
    cls = kind.subclass(json=True, send=lambda self, *args, **kwargs: pytest.fail("send was called"))
    log: Log = []
    consumer = cls()
    kind.attach(consumer, log)
    kind.call(consumer, "send_json", 1)
    assert log == [{"type": "websocket.send", "text": "1"}]


# The same surface


@pytest.mark.parametrize("name", grip_consumers.generic.websocket.__all__)
def test_each_method_has_channels_signature(name: str) -> None:
    theirs, ours = getattr(channels.generic.websocket, name), getattr(grip_consumers.generic.websocket, name)
    own = [key for key, value in vars(theirs).items() if callable(getattr(theirs, key)) and key != "__init__"]
    assert len(own) >= 5
    for key in own:
        method, reference = getattr(ours, key), getattr(theirs, key)
        assert _shape(method) == _shape(reference), key
        assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(reference), key


def _shape(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


@pytest.mark.parametrize("name", grip_consumers.generic.websocket.__all__)
def test_the_classes_inherit_as_channels_do(name: str) -> None:
    theirs, ours = getattr(channels.generic.websocket, name), getattr(grip_consumers.generic.websocket, name)
    assert [base.__name__ for base in ours.__mro__] == [base.__name__ for base in theirs.__mro__]
    assert ours._sync is theirs._sync


async def test_the_end_of_an_asynchronous_consumer_looks_after_database_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def close_connections() -> None:
        log.append("closed")

    log: Log = []
    monkeypatch.setattr(grip_consumers.generic.websocket, "close_old_connections_if_used", close_connections)
    consumer = AsyncWebsocketConsumer()
    monkeypatch.setattr(AsyncWebsocketConsumer, "disconnect", mock.AsyncMock(side_effect=log.append))
    with pytest.raises(grip_consumers.exceptions.StopConsumer):
        await consumer.websocket_disconnect(GONE)
    assert log == [1001, "closed"]
