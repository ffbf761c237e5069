"""One consumer for each rule of `compatibility`, named by the rule: `background-task` is BackgroundTask."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from grip_consumers.consumer import AsyncConsumer
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

#: What tests wait for, and what is to happen in the meantime.
late_errors: list[BaseException] = []


class BackgroundTask(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        asyncio.create_task(self.tell())  # noqa: RUF006

    async def tell(self):
        try:
            await asyncio.sleep(0.02)
            await self.send(text_data="late")
        except RuntimeError as error:
            note(error)
            raise


class SleepingLoop(WebsocketConsumer):
    def connect(self):
        self.accept()
        for number in range(3):
            self.send(text_data=str(number))
            time.sleep(0.01)


class LayerReceive(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.receive(self.channel_name)


class UnkeepableState(WebsocketConsumer):
    def connect(self):
        self.lock = threading.Lock()
        self.accept()


class LateAccept(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.admit()

    def connect(self):
        super().connect()

    def admit(self):
        self.accept()


class Timer(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        threading.Timer(0.02, self.tell).start()

    def tell(self):
        try:
            self.send(text_data="late")
        except RuntimeError as error:
            note(error)


rooms: dict[str, list[str]] = {}


class ProcessState(WebsocketConsumer):
    def connect(self):
        rooms.setdefault("lobby", []).append(self.channel_name)
        self.accept()


class TooManyGroups(WebsocketConsumer):
    groups = [f"group-{number}" for number in range(20)]


class OrdinaryLayer(WebsocketConsumer):
    channel_layer_alias = "ordinary"
    groups = ["lobby"]


class LastingCall(WebsocketConsumer):
    async def __call__(self, scope, receive, send):
        try:
            return await super().__call__(scope, receive, send)
        finally:
            note("gone")


def make_local_class() -> type[AsyncConsumer]:
    class LocalClass(AsyncWebsocketConsumer):
        pass

    return LocalClass


LocalClass = make_local_class()

note: Callable[[Any], None] = late_errors.append
