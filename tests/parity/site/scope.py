"""Consumers that tell what their scope holds: the request, the user, the session, what middleware put there."""

import json

from channels.auth import get_user, login, logout
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from django.contrib.auth import get_user_model


class ScopeReport(AsyncWebsocketConsumer):
    """Says what its scope holds, at connect and at a later message."""

    async def connect(self):
        await self.accept()
        await self.report()

    async def receive(self, text_data):
        await self.report()

    async def report(self):
        scope = self.scope
        headers = [[name.decode(), value.decode()] for name, value in scope["headers"] if name.startswith(b"x-test")]
        names = sorted({name.decode() for name, value in scope["headers"]} & {"cookie", "origin", "user-agent"})
        report = {
            "type": scope["type"],
            "path": scope["path"],
            "query": scope["query_string"].decode().partition("&journal")[0],
            "cookies": {name: scope["cookies"][name] for name in sorted(scope["cookies"]) if name != "sessionid"},
            "headers": headers,
            "names": names,
            "subprotocols": scope["subprotocols"],
            "scheme": scope["scheme"],
            "http_version": scope["http_version"],
            "kwargs": scope["url_route"]["kwargs"],
            "args": list(scope["url_route"]["args"]),
        }
        await self.send(json.dumps(report, sort_keys=True))


class WhoAmI(WebsocketConsumer):
    """The user and the session that the middleware found."""

    def connect(self):
        self.accept()
        self.report()

    def receive(self, text_data):
        if text_data == "sit":
            self.scope["session"]["seat"] = "12C"
        if text_data == "save":
            self.scope["session"].save()
        self.report()

    def report(self):
        user, session = self.scope["user"], self.scope["session"]
        values = {key: session[key] for key in ("colour", "seat") if key in session}
        self.send(json.dumps([user.username, user.is_authenticated, user.is_anonymous, values]))


class LogsIn(AsyncWebsocketConsumer):
    """Logs in and out over the socket."""

    async def receive(self, text_data):
        if text_data == "out":
            await logout(self.scope)
        elif text_data != "who":
            await login(self.scope, await self.find(text_data))
            await database_sync_to_async(self.scope["session"].save)()
        user = await get_user(self.scope)
        await self.send(f"{self.scope['user'].username or 'nobody'} {user.username or 'nobody'}")

    @database_sync_to_async
    def find(self, username):
        return get_user_model().objects.get_or_create(username=username)[0]


class ScopeNames(WebsocketConsumer):
    """Keeps its scope under other names, as a whole, within a dictionary and as a copy."""

    def connect(self):
        self.request = self.scope
        self.context = {"scope": self.scope}
        self.first = dict(self.scope)
        self.accept()

    def receive(self, text_data):
        self.scope["said"] = text_data
        self.send(f"{self.request['said']} {self.request is self.scope}")
        self.send(f"{self.context['scope']['path']} {self.first['path']} {'said' in self.first}")


class Tenant(WebsocketConsumer):
    """Says what a middleware left in the scope."""

    def receive(self, text_data):
        self.send(f"{self.scope['tenant']} {text_data}")


class Kwargs(WebsocketConsumer):
    def receive(self, text_data):
        self.send(json.dumps(self.scope["url_route"]["kwargs"], sort_keys=True))
