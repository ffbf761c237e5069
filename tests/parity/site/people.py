"""Consumers that know who their client is: users, sessions and model instances at group events."""

import json

from asgiref.sync import async_to_sync
from channels.auth import get_user, login, logout
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.contrib.auth import get_user_model


class Person(WebsocketConsumer):
    """Keeps its user as an attribute, and a row of its own that it changes at group events."""

    def connect(self):
        self.user = self.scope["user"]
        self.group = f"people_{self.scope['url_route']['kwargs']['room_name']}"
        self.scope["session"]["seat"] = f"seat of {self.user.username}"
        self.row = get_user_model().objects.get(pk=self.user.pk)
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()

    def receive(self, text_data):
        content = json.loads(text_data)
        if "type" in content:
            async_to_sync(self.channel_layer.group_send)(self.group, content)
        else:
            self.report(content["report"])

    def report(self, what):
        user, row = self.scope["user"], self.row
        kept = [what, user.username, user.first_name, row.first_name, self.scope["session"].get("seat")]
        self.send(json.dumps(kept))

    def who_are_you(self, event):
        self.report(event["text"])

    def christen(self, event):
        self.row.first_name = f"{event['text']} {self.user.username}"
        self.row.save(update_fields=["first_name"])
        self.send(self.row.first_name)

    def look_again(self, event):
        self.user.refresh_from_db()
        self.send(f"{self.user.username} is {self.user.first_name}")

    def for_staff(self, event):
        if self.scope["user"].is_staff:
            self.send(f"secret {event['text']}")

    def unless_user(self, event):
        if self.user.pk in event["ids"]:
            return
        self.send(event["text"])

    def sit_down(self, event):
        self.scope["session"]["seat"] = event["text"]


class Guest(AsyncWebsocketConsumer):
    """Logs in and out over the socket, and says at group events who it is by then."""

    async def connect(self):
        self.group = f"guests_{self.scope['url_route']['kwargs']['room_name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive(self, text_data):
        verb, _, name = text_data.partition(" ")
        session = self.scope["session"]
        if verb == "login":
            await login(self.scope, await self.find(name))
            await session.asave()
            await self.send(f"in {self.scope['user'].username}")
        elif verb == "logout":
            await logout(self.scope)
            await session.asave()
            await self.send("out")
        elif verb == "key":
            await self.send(json.dumps(session.session_key))
        elif verb == "user":
            user = await get_user(self.scope)
            await self.send(f"{self.scope['user'].username or 'nobody'} {user.username or 'nobody'}")
        else:
            await self.channel_layer.group_send(self.group, {"type": "roll.call", "text": text_data})

    async def roll_call(self, event):
        user = self.scope["user"]
        await self.send(f"{event['text']} {user.username or 'nobody'} {user.is_authenticated}")

    @database_sync_to_async
    def find(self, username):
        return get_user_model().objects.get_or_create(username=username)[0]
