"""Members of groups, sync and async, with handlers that are the same for all members and ones that are not.

All speak JSON lists. A member joins the groups of its query (`?name=…&group=…&group=…`) when it connects and says so:
["welcome", when the last group_add had returned, process id, channel_name]. Its client may ask for what the methods
named `do_…` do.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import async_to_sync

from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

from . import frames


def query_of(scope: Any) -> dict[str, list[str]]:
    return parse_qs(scope["query_string"].decode())


def history(query: dict[str, list[str]]) -> list[frames.Spec]:
    """The frames that a member gets right after it was accepted: `history=NUMBERxSIZE`."""
    number, size = map(int, query.get("history", ["0x0"])[0].split("x"))
    return [["text", position, size] for position in range(number)]


def filling(seed: str, size: int) -> str:
    """A text of `size` characters, other ones for each seed, that does not repeat itself."""
    pieces = (hashlib.sha256(f"{seed}{position}".encode()).hexdigest() for position in range(size // 64 + 1))
    return "".join(pieces)[:size]


def digest(text: str) -> list[Any]:
    return [len(text), hashlib.sha256(text.encode()).hexdigest()]


class Member(WebsocketConsumer):
    """Joins, leaves, keeps, echoes and sends frames as its client says."""

    def connect(self) -> None:
        query = query_of(self.scope)
        self.name = query["name"][0]
        self.handled = 0
        self.kept = ""
        for group in query.get("group", []):
            async_to_sync(self.channel_layer.group_add)(group, self.channel_name)
        joined = time.monotonic()
        self.accept()
        self.tell("welcome", joined, os.getpid(), self.channel_name)
        self.send_frames(history(query))

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        command, *arguments = json.loads(text_data or "[]")
        getattr(self, f"do_{command}")(*arguments)

    def tell(self, *values: Any) -> None:
        self.send(text_data=json.dumps(values))

    def send_frames(self, specs: list[frames.Spec]) -> None:
        for spec in specs:
            self.send(**frames.arguments(spec))

    def do_echo(self, value: Any) -> None:
        self.tell("echo", value)

    def do_join(self, group: str) -> None:
        async_to_sync(self.channel_layer.group_add)(group, self.channel_name)
        self.tell("joined", group, time.monotonic(), os.getpid())

    def do_leave(self, group: str) -> None:
        async_to_sync(self.channel_layer.group_discard)(group, self.channel_name)
        self.tell("left", group)

    def do_shout(self, group: str, number: int) -> None:
        event = {"type": "note", "group": group, "sender": self.name, "number": number}
        async_to_sync(self.channel_layer.group_send)(group, event)

    def do_keep(self, seed: str, size: int) -> None:
        self.kept = filling(seed, size)
        self.tell("kept", *digest(self.kept))

    def do_recall(self) -> None:
        self.tell("recalled", self.name, *digest(self.kept))

    def do_frames(self, specs: list[frames.Spec], closing: list[Any] | None = None) -> None:
        self.send_frames(specs)
        if closing:
            self.close(code=closing[0], reason=closing[1])


class Shared(Member):
    """Handles group events in a way that is the same for all members."""

    def note(self, event: dict[str, Any]) -> None:
        self.send(text_data=json.dumps(["note", event["group"], event["sender"], event["number"]]))


class Own(Member):
    """Handles them with what it alone knows: its name, and how many it has handled."""

    def note(self, event: dict[str, Any]) -> None:
        self.handled += 1
        self.tell("note", event["group"], event["sender"], event["number"], self.name, self.handled)

    def check(self, event: dict[str, Any]) -> None:
        self.handled += 1
        self.tell("checked", self.name, self.handled, *digest(self.kept))

    def burst(self, event: dict[str, Any]) -> None:
        self.handled += 1
        self.send_frames(event["frames"])
        self.tell("end of burst", self.name, self.handled)


class AsyncMember(AsyncWebsocketConsumer):
    """The same in async style."""

    async def connect(self) -> None:
        query = query_of(self.scope)
        self.name = query["name"][0]
        self.handled = 0
        self.kept = ""
        for group in query.get("group", []):
            await self.channel_layer.group_add(group, self.channel_name)
        joined = time.monotonic()
        await self.accept()
        await self.tell("welcome", joined, os.getpid(), self.channel_name)
        await self.send_frames(history(query))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        command, *arguments = json.loads(text_data or "[]")
        await getattr(self, f"do_{command}")(*arguments)

    async def tell(self, *values: Any) -> None:
        await self.send(text_data=json.dumps(values))

    async def send_frames(self, specs: list[frames.Spec]) -> None:
        for spec in specs:
            await self.send(**frames.arguments(spec))

    async def do_echo(self, value: Any) -> None:
        await self.tell("echo", value)

    async def do_join(self, group: str) -> None:
        await self.channel_layer.group_add(group, self.channel_name)
        await self.tell("joined", group, time.monotonic(), os.getpid())

    async def do_leave(self, group: str) -> None:
        await self.channel_layer.group_discard(group, self.channel_name)
        await self.tell("left", group)

    async def do_shout(self, group: str, number: int) -> None:
        event = {"type": "note", "group": group, "sender": self.name, "number": number}
        await self.channel_layer.group_send(group, event)

    async def do_keep(self, seed: str, size: int) -> None:
        self.kept = filling(seed, size)
        await self.tell("kept", *digest(self.kept))

    async def do_recall(self) -> None:
        await self.tell("recalled", self.name, *digest(self.kept))

    async def do_frames(self, specs: list[frames.Spec], closing: list[Any] | None = None) -> None:
        await self.send_frames(specs)
        if closing:
            await self.close(code=closing[0], reason=closing[1])


class AsyncShared(AsyncMember):
    async def note(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(["note", event["group"], event["sender"], event["number"]]))


class AsyncOwn(AsyncMember):
    async def note(self, event: dict[str, Any]) -> None:
        self.handled += 1
        await self.tell("note", event["group"], event["sender"], event["number"], self.name, self.handled)

    async def check(self, event: dict[str, Any]) -> None:
        self.handled += 1
        await self.tell("checked", self.name, self.handled, *digest(self.kept))

    async def burst(self, event: dict[str, Any]) -> None:
        self.handled += 1
        await self.send_frames(event["frames"])
        await self.tell("end of burst", self.name, self.handled)
