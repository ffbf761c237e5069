"""Consumers that only listen to their own client: frames, handshakes, attributes, closing and failing."""

import dataclasses
import datetime
import decimal
import functools
import json
import logging
import uuid

from asgiref.sync import async_to_sync
from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer

from .journal import note


class Noting:
    """Notes the end of the connection."""

    def disconnect(self, code):
        note(self.scope, "disconnect", code)


class AsyncNoting:
    async def disconnect(self, code):
        note(self.scope, "disconnect", code)


class Echo(Noting, WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)


class AsyncEcho(AsyncNoting, AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


class DefaultConsumer(WebsocketConsumer):
    """Nothing overridden: accepts and ignores."""


class Listener(Noting, WebsocketConsumer):
    """Says nothing, notes what it hears."""

    def receive(self, text_data):
        note(self.scope, "got", text_data)


class Counter(WebsocketConsumer):
    """Keeps plain and nested attributes, the nested ones changed in place."""

    def connect(self):
        self.count = 0
        self.seen = {"texts": [], "lengths": {}}
        self.accept()

    def receive(self, text_data):
        self.count += 1
        self.seen["texts"].append(text_data)
        self.seen["lengths"].setdefault(str(len(text_data)), []).append(self.count)
        self.send(json.dumps([self.count, self.seen]))

    def disconnect(self, code):
        note(self.scope, "disconnect", code, self.count, self.seen)


class AsyncCounter(AsyncWebsocketConsumer):
    async def connect(self):
        self.count = 0
        self.seen = {"texts": [], "lengths": {}}
        await self.accept()

    async def receive(self, text_data):
        self.count += 1
        self.seen["texts"].append(text_data)
        self.seen["lengths"].setdefault(str(len(text_data)), []).append(self.count)
        await self.send(json.dumps([self.count, self.seen]))

    async def disconnect(self, code):
        note(self.scope, "disconnect", code, self.count, self.seen)


class LateAttributes(Noting, WebsocketConsumer):
    """Attributes made and deleted after connect, and one that only exists on some connections."""

    def receive(self, text_data):
        if text_data == "make":
            self.late = "made"
        elif text_data == "delete":
            del self.late
        self.send(getattr(self, "late", "nothing"))

    def disconnect(self, code):
        note(self.scope, "disconnect", hasattr(self, "late"))


class InitArguments(WebsocketConsumer):
    """Arguments of as_asgi() and attributes that `__init__` sets."""

    greeting = "class"

    def __init__(self, greeting="default", **kwargs):
        super().__init__(**kwargs)
        self.greeting = greeting
        self.said = 0

    def receive(self, text_data):
        self.said += 1
        self.send(f"{self.greeting} {self.said}")


class ActionTable(WebsocketConsumer):
    """Attributes that refer to the consumer's own methods, a logger and the channel layer, set by `__init__`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logger = logging.getLogger("site.actions")
        self.layer = get_channel_layer()
        self.actions = {"count": self.count, "tell": functools.partial(self.tell, "told"), "all": self.tell_all}
        self.counted = 0

    def connect(self):
        self.room = f"actions-{self.scope['url_route']['kwargs']['room_name']}"
        async_to_sync(self.layer.group_add)(self.room, self.channel_name)
        self.accept()

    def receive(self, text_data):
        self.actions[text_data]()

    def count(self):
        self.counted += 1
        self.logger.debug("counted")
        self.send(f"{self.counted} {self.logger.name}")

    def tell(self, *words):
        self.send(" ".join([*words, str(self.counted)]))

    def tell_all(self):
        async_to_sync(self.layer.group_send)(self.room, {"type": "told.all", "counted": self.counted})

    def told_all(self, event):
        self.actions["tell"](f"by one who counted {event['counted']}:")


class AsyncActionTable(AsyncWebsocketConsumer):
    """The same in an async consumer, with a callback that changes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.logger = logging.getLogger("site.actions")
        self.layer = get_channel_layer()
        self.answer = self.first

    async def receive(self, text_data):
        await self.answer(text_data)

    async def first(self, text):
        self.answer = self.later
        await self.layer.send(self.channel_name, {"type": "told", "text": f"first {text} {self.logger.name}"})

    async def later(self, text):
        await self.send(f"later {text}")

    async def told(self, event):
        await self.send(event["text"])


@dataclasses.dataclass
class Seat:
    row: int
    letter: str


class Types(AsyncWebsocketConsumer):
    """Attributes of the types that consumers keep."""

    async def connect(self):
        self.user = self.scope["user"]
        self.kept = {
            "tuple": (1, "two"),
            "set": {3},
            "bytes": b"\x00\xff",
            "datetime": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc),
            "date": datetime.date(2024, 2, 29),
            "timedelta": datetime.timedelta(days=1, microseconds=5),
            "decimal": decimal.Decimal("1.10"),
            "uuid": uuid.UUID(int=7),
            "dataclass": Seat(12, "C"),
            "int keys": {1: "one"},
            "none": None,
        }
        await self.accept()

    async def receive(self, text_data):
        for name, value in self.kept.items():
            await self.send(f"{name}: {value!r}")
        await self.send(f"{self.user.username} {self.user.is_authenticated} {self.user == self.scope['user']}")


class ScopeKeeper(WebsocketConsumer):
    """Keeps something in its scope."""

    def connect(self):
        self.scope["visits"] = ["connect"]
        self.accept()

    def receive(self, text_data):
        self.scope["visits"].append(text_data)
        self.send(json.dumps(self.scope["visits"]))


class Json(Noting, JsonWebsocketConsumer):
    def receive_json(self, content, **kwargs):
        self.send_json({"got": content})


class AsyncJson(AsyncNoting, AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json({"got": content})


class CustomJson(JsonWebsocketConsumer):
    """With an encoder of its own."""

    def receive_json(self, content, **kwargs):
        self.send_json(content)

    @classmethod
    def decode_json(cls, text_data):
        return text_data.split(",")

    @classmethod
    def encode_json(cls, content):
        return "|".join(content)


class Subprotocol(AsyncWebsocketConsumer):
    """Chooses the last subprotocol that the client offers."""

    async def connect(self):
        offered = self.scope["subprotocols"]
        await self.accept(subprotocol=offered[-1] if offered else None)
        await self.send(json.dumps(offered))


class AcceptHeaders(WebsocketConsumer):
    def connect(self):
        self.accept(headers=[(b"x-greeting", b"hello"), (b"x-other", b"1, 2")])


class Greeting(WebsocketConsumer):
    """Speaks first."""

    def connect(self):
        self.accept()
        self.send("welcome")
        self.send(bytes_data=b"\x01\x02")


class AcceptThenClose(Noting, WebsocketConsumer):
    """Accepts so that the client can read the code with which it is turned away."""

    def connect(self):
        self.accept()
        self.send("you may not stay")
        self.close(code=4003, reason="no seat left")


class RejectByClose(Noting, WebsocketConsumer):
    def connect(self):
        note(self.scope, "connect")
        self.close()


class AsyncRejectByClose(AsyncNoting, AsyncWebsocketConsumer):
    async def connect(self):
        note(self.scope, "connect")
        await self.close(code=4401)


class RejectByDeny(Noting, WebsocketConsumer):
    def connect(self):
        raise DenyConnection("no")


class AcceptByException(WebsocketConsumer):
    def connect(self):
        raise AcceptConnection("yes")

    def receive(self, text_data):
        self.send("accepted")


class FailingConnect(Noting, WebsocketConsumer):
    def connect(self):
        raise LookupError("no such room")


class FailingAfterAccept(AsyncNoting, AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send("accepted")
        raise LookupError("too late")


class SendBeforeAccept(WebsocketConsumer):
    def connect(self):
        self.send("too early")
        self.accept()


class DenialResponse(AsyncNoting, AsyncWebsocketConsumer):
    """The ASGI extension: a rejection with a status, headers and body of its own."""

    async def connect(self):
        await self.base_send(
            {"type": "websocket.http.response.start", "status": 402, "headers": [(b"x-price", b"12 crowns")]}
        )
        await self.base_send({"type": "websocket.http.response.body", "body": b"pay ", "more_body": True})
        await self.base_send({"type": "websocket.http.response.body", "body": b"first"})


class Closer(Noting, WebsocketConsumer):
    """Closes as its client asks: `{"code": …, "reason": …}`."""

    def receive(self, text_data):
        self.close(**json.loads(text_data))


class AsyncCloser(AsyncNoting, AsyncWebsocketConsumer):
    async def receive(self, text_data):
        await self.close(**json.loads(text_data))


class SendAndClose(Noting, WebsocketConsumer):
    def receive(self, text_data):
        self.send("last words", close=4009)


class SendAfterClose(Noting, WebsocketConsumer):
    def receive(self, text_data):
        self.close(code=4005)
        self.send("never seen")


class Stopper(Noting, WebsocketConsumer):
    def receive(self, text_data):
        self.send("stopping")
        raise StopConsumer()


class Failing(Noting, WebsocketConsumer):
    def receive(self, text_data):
        self.send("before")
        raise RuntimeError("by request")


class AsyncFailing(AsyncNoting, AsyncWebsocketConsumer):
    async def receive(self, text_data):
        await self.send("before")
        raise RuntimeError("by request")


class FailingDisconnect(WebsocketConsumer):
    def receive(self, text_data):
        self.send(text_data)

    def disconnect(self, code):
        note(self.scope, "disconnect", code)
        raise RuntimeError("in disconnect")


class SendNothing(Noting, WebsocketConsumer):
    """Calls send() with neither text nor bytes."""

    def receive(self, text_data):
        try:
            self.send()
        except ValueError as error:
            self.send(str(error))


class Overridden(WebsocketConsumer):
    """Overrides the handlers below connect(), receive() and disconnect()."""

    def websocket_connect(self, message):
        note(self.scope, message["type"])
        super().websocket_connect(message)

    def websocket_receive(self, message):
        self.send(json.dumps({"type": message["type"], "text": message.get("text")}))
        super().websocket_receive(message)

    def websocket_disconnect(self, message):
        note(self.scope, message["type"], message["code"])
        super().websocket_disconnect(message)
