"""Consumers that talk to each other through groups and channel names."""

import json

from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, WebsocketConsumer

from .journal import note


class Room(WebsocketConsumer):
    """The tutorial's consumer, in sync style."""

    def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"
        async_to_sync(self.channel_layer.group_add)(self.room_group_name, self.channel_name)
        self.accept()

    def disconnect(self, close_code):
        async_to_sync(self.channel_layer.group_discard)(self.room_group_name, self.channel_name)
        note(self.scope, "left", self.room_group_name, close_code)

    def receive(self, text_data):
        message = json.loads(text_data)["message"]
        async_to_sync(self.channel_layer.group_send)(self.room_group_name, {"type": "chat.message", "message": message})

    def chat_message(self, event):
        self.send(text_data=json.dumps({"message": event["message"]}))


class AsyncRoom(AsyncWebsocketConsumer):
    """The tutorial's consumer, in async style."""

    async def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)
        note(self.scope, "left", self.room_group_name, close_code)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(self.room_group_name, {"type": "chat.message", "message": message})

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


class OrderedRoom(AsyncWebsocketConsumer):
    """Sends to its group before it sends to its own client."""

    async def connect(self):
        self.group = f"ordered_{self.scope['url_route']['kwargs']['room_name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive(self, text_data):
        await self.channel_layer.group_send(self.group, {"type": "say", "text": f"first {text_data}"})
        await self.channel_layer.group_send(self.group, {"type": "say", "text": f"second {text_data}"})
        await self.send(f"direct {text_data}")

    async def say(self, event):
        await self.send(event["text"])


class ClassGroups(WebsocketConsumer):
    """Joins its group by the class attribute; the connecting client does nothing for it."""

    groups = ["everyone"]

    def receive(self, text_data):
        async_to_sync(self.channel_layer.group_send)("everyone", {"type": "news.flash", "text": text_data})

    def news_flash(self, event):
        self.send(f"news: {event['text']}")

    def disconnect(self, code):
        note(self.scope, "disconnect", self.groups)


class JoinLeave(AsyncJsonWebsocketConsumer):
    """Joins and leaves groups as its client asks: `["join" | "leave" | "say", group, text?]`."""

    async def receive_json(self, content, **kwargs):
        verb, group, *text = content
        if verb == "join":
            await self.channel_layer.group_add(group, self.channel_name)
        elif verb == "leave":
            await self.channel_layer.group_discard(group, self.channel_name)
        else:
            await self.channel_layer.group_send(group, {"type": "told", "group": group, "text": text[0]})
        await self.send_json(["done", verb])

    async def told(self, event):
        await self.send_json(["told", event["group"], event["text"]])


class Variety(WebsocketConsumer):
    """Group handlers that answer an event with several frames, bytes, a close or nothing."""

    def connect(self):
        self.group = f"variety_{self.scope['url_route']['kwargs']['room_name']}"
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()

    def receive(self, text_data):
        async_to_sync(self.channel_layer.group_send)(self.group, json.loads(text_data))

    def several(self, event):
        for number in range(event["count"]):
            self.send(f"part {number}")

    def binary(self, event):
        self.send(bytes_data=bytes(event["values"]))

    def farewell(self, event):
        self.send("goodbye")
        self.close(code=event["code"])

    def silent(self, event):
        pass

    def changing(self, event):
        event["text"] = event["text"] + "!"
        self.send(event["text"])

    def by_helper(self, event):
        self._tell(event)

    def _tell(self, event):
        self.send(f"helped {event['text']}")

    def disconnect(self, code):
        note(self.scope, "disconnect", code)


class OtherRoom(WebsocketConsumer):
    """Of another class, in the same groups as Variety: renders the same event its own way."""

    def connect(self):
        self.group = f"variety_{self.scope['url_route']['kwargs']['room_name']}"
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()

    def by_helper(self, event):
        self.send(f"other {event['text']}")


class SelfSender(AsyncWebsocketConsumer):
    """Sends events to its own channel name."""

    async def receive(self, text_data):
        await self.channel_layer.send(self.channel_name, {"type": "back", "text": text_data})
        await self.send("sent")

    async def back(self, event):
        await self.send(f"back {event['text']}")


class Addressable(AsyncJsonWebsocketConsumer):
    """Tells its channel name and sends to others': `["name"]` or `["to", channel name, text]`."""

    async def receive_json(self, content, **kwargs):
        if content[0] == "name":
            await self.send_json(self.channel_name)
        else:
            await self.channel_layer.send(content[1], {"type": "letter", "text": content[2]})
            await self.send_json("sent")

    async def letter(self, event):
        await self.send_json(["letter", event["text"]])


class MissingHandler(WebsocketConsumer):
    """Sends its own group an event of a type that it does not handle."""

    groups = ["unhandled"]

    def receive(self, text_data):
        async_to_sync(self.channel_layer.group_send)("unhandled", {"type": text_data})
        self.send("sent")

    def disconnect(self, code):
        note(self.scope, "disconnect", code)


class Relay(AsyncWebsocketConsumer):
    """Sends to a group that it is no member of, at connect and at disconnect too."""

    async def connect(self):
        self.group = f"chat_{self.scope['url_route']['kwargs']['room_name']}"
        await self.accept()
        await self.tell("somebody connects")

    async def receive(self, text_data):
        await self.tell(text_data)
        await self.send("relayed")

    async def disconnect(self, code):
        await self.tell(f"somebody leaves with {code}")

    async def tell(self, text):
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "message": text})


class Presence(WebsocketConsumer):
    """Tells its room who comes and goes, as many chats do: before accept() and in disconnect()."""

    def connect(self):
        self.who = self.scope["query_string"].decode().partition("&")[0]
        self.group = f"presence_{self.scope['url_route']['kwargs']['room_name']}"
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.tell(f"{self.who} joined")
        self.accept()
        self.send("welcome")

    def disconnect(self, code):
        self.tell(f"{self.who} left")
        async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)

    def receive(self, text_data):
        if text_data == "leave":
            async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)
            self.tell(f"{self.who} left the room")
            self.close(code=4100)
        else:
            self.tell(f"{self.who}: {text_data}")

    def tell(self, text):
        async_to_sync(self.channel_layer.group_send)(self.group, {"type": "presence.event", "text": text})

    def presence_event(self, event):
        self.send(event["text"])
