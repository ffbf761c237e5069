"""Consumers that are addressed by their channel names, and that put each other into groups."""

import asyncio
import time

from asgiref.sync import async_to_sync
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from .journal import note
from .members import name_of


class Postman(AsyncJsonWebsocketConsumer):
    """Calls the channel layer as its client asks: `["calls", [method, argument, argument], …]`.

    `["name"]` is answered with the channel name, `["report", text]` with what it has kept. Who is called "early"
    sends itself events as soon as it is connected.
    """

    async def connect(self):
        self.who = name_of(self.scope)
        self.letters = 0
        self.read = []
        if self.who.startswith("early"):
            await self.channel_layer.send(self.channel_name, {"type": "letter", "text": "before accept"})
        await self.accept()
        if self.who.startswith("early"):
            await self.channel_layer.send(self.channel_name, {"type": "letter", "text": "after accept"})
            await self.send_json("connected")

    async def receive_json(self, content, **kwargs):
        verb, *arguments = content
        if verb == "name":
            await self.send_json(self.channel_name)
        elif verb == "report":
            await self.send_json([*arguments, self.who, self.letters, self.read])
        elif verb == "join":
            await self.channel_layer.group_add(arguments[0], self.channel_name)
            await self.send_json("joined")
        elif verb == "introduce":
            await self.channel_layer.send(arguments[0], {"type": "introduction", "name": self.channel_name})
        elif verb == "at disconnect":
            self.last = arguments
            await self.send_json("noted")
        else:
            for method, *given in arguments:
                await getattr(self.channel_layer, method)(*given)
            await self.send_json("done")

    async def disconnect(self, code):
        note(self.scope, "disconnect", code, self.letters)
        for method, *given in getattr(self, "last", []):
            await getattr(self.channel_layer, method)(*given)

    async def letter(self, event):
        self.letters += 1
        self.read.append(event["text"][:20])
        await self.send_json([self.who, self.letters, event["text"]])

    async def notice(self, event):
        await self.send_json(["notice", event["text"]])

    async def introduction(self, event):
        await self.send_json(event["name"])

    async def parcel(self, event):
        self.letters += 1
        await self.send_json([self.who, self.letters, event["value"]])

    async def question(self, event):
        await self.channel_layer.send(event["reply_to"], {"type": "letter", "text": f"{self.who} answers"})

    async def silent_letter(self, event):
        self.letters += 1

    async def expel(self, event):
        await self.send_json(f"{self.who} must go")
        await self.close(code=4020, reason="expelled")

    async def raising(self, event):
        raise RuntimeError("by request")


class SyncPostman(JsonWebsocketConsumer):
    """The same in sync style."""

    def connect(self):
        self.who = name_of(self.scope)
        self.letters = 0
        self.read = []
        self.accept()

    def receive_json(self, content, **kwargs):
        verb, *arguments = content
        if verb == "name":
            self.send_json(self.channel_name)
        elif verb == "report":
            self.send_json([*arguments, self.who, self.letters, self.read])
        elif verb == "join":
            async_to_sync(self.channel_layer.group_add)(arguments[0], self.channel_name)
            self.send_json("joined")
        else:
            for method, *given in arguments:
                async_to_sync(getattr(self.channel_layer, method))(*given)
            self.send_json("done")

    def disconnect(self, code):
        note(self.scope, "disconnect", code, self.letters)

    def letter(self, event):
        self.letters += 1
        self.read.append(event["text"][:20])
        self.send_json([self.who, self.letters, event["text"]])

    def notice(self, event):
        self.send_json(["notice", event["text"]])

    def parcel(self, event):
        self.letters += 1
        self.send_json([self.who, self.letters, event["value"]])

    def question(self, event):
        async_to_sync(self.channel_layer.send)(event["reply_to"], {"type": "letter", "text": f"{self.who} answers"})

    def silent_letter(self, event):
        self.letters += 1

    def expel(self, event):
        self.send_json(f"{self.who} must go")
        self.close(code=4020, reason="expelled")

    def raising(self, event):
        raise RuntimeError("by request")


class HastyJoiner(AsyncJsonWebsocketConsumer):
    """Joins in connect() and sends to its group right behind it; in receive() too, as its client asks."""

    async def connect(self):
        self.who, self.got = name_of(self.scope), 0
        self.group = f"hasty_{self.scope['url_route']['kwargs']['room_name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.tell("shared.word", f"{self.who} before accept")
        await self.accept()
        await self.tell("own.word", f"{self.who} after accept")

    async def receive_json(self, content, **kwargs):
        group, *texts = content
        await self.channel_layer.group_add(group, self.channel_name)
        for text in texts:
            await self.tell("own.word", text, group)
        await self.channel_layer.group_discard(group, self.channel_name)
        await self.tell("own.word", "nobody is there", group)
        await self.channel_layer.group_add(group, self.channel_name)
        await self.tell("shared.word", "back again", group)
        await self.send_json("done")

    async def tell(self, kind, text, group=None):
        await self.channel_layer.group_send(group or self.group, {"type": kind, "text": text})

    async def own_word(self, event):
        self.got += 1
        await self.send_json([self.who, self.got, event["text"]])

    async def shared_word(self, event):
        await self.send_json(event["text"])


class Looper(AsyncWebsocketConsumer):
    """Sends to itself again and again, from connect() on, until its client says stop."""

    async def connect(self):
        self.on = True
        await self.accept()
        await self.turn({})

    async def turn(self, event):
        await asyncio.sleep(0.02)
        if self.on:
            await self.channel_layer.send(self.channel_name, {"type": "turn"})

    async def receive(self, text_data):
        self.on = False
        await self.send("stopped")


class GroupLooper(WebsocketConsumer):
    """The same by way of a group that it is alone in."""

    def connect(self):
        self.on = True
        self.group = f"looper_{self.scope['url_route']['kwargs']['room_name']}"
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()
        self.turn({})

    def turn(self, event):
        time.sleep(0.02)
        if self.on:
            async_to_sync(self.channel_layer.group_send)(self.group, {"type": "turn"})

    def receive(self, text_data):
        self.on = False
        self.send("stopped")
