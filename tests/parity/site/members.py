"""Consumers whose group handlers read and change what belongs to their own connection."""

import asyncio
import json

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from django.contrib.auth import get_user_model
from django.utils.functional import cached_property

from .journal import note


def name_of(scope):
    """Who the client says it is: the first part of the query string."""
    return scope["query_string"].decode().partition("&")[0]


class Member(WebsocketConsumer):
    """Sends the events that its client asks for to its group; answers `{"report": …}` with what it has kept."""

    greeting = "hello"

    def connect(self):
        self.who = name_of(self.scope)
        self.user = self.scope["user"]
        self.group = f"members_{self.scope['url_route']['kwargs']['room_name']}"
        self.count = 0
        self.seen = {"texts": [], "by": {}}
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()

    def receive(self, text_data):
        content = json.loads(text_data)
        if "report" in content:
            self.send(json.dumps([content["report"], self.who, self.count, self.greeting, self.seen], sort_keys=True))
        elif "name" in content:
            self.send(json.dumps(self.channel_name))
        else:
            for event in content.get("events", [content]):
                self.tell(event)
        if "direct" in content:
            self.send(content["direct"])

    def tell(self, event):
        event = {"sender": self.channel_name, "user_id": self.user.id, **event}
        async_to_sync(self.channel_layer.group_send)(self.group, event)

    def disconnect(self, code):
        note(self.scope, "disconnect", code, self.count)

    # What any member would send.

    def plain(self, event):
        self.send(event["text"])

    def kick_all(self, event):
        self.close(code=4010, reason="closing time")

    def all_fail(self, event):
        self.send("before")
        raise RuntimeError("by request")

    # What only this one would send.

    def greet(self, event):
        self.send(f"{self.user.username or 'nobody'} reads {event['text']}")

    def greet_by_scope(self, event):
        self.send(f"{self.scope['user'].username or 'nobody'} in {self.scope['path'][:10]} reads {event['text']}")

    def count_up(self, event):
        self.count += 1
        self.send(f"{self.who} {self.count}")

    def chat_user_joined(self, event):
        self.send(f"{self.who} hears of {event['text']}")

    def binary(self, event):
        self.send(bytes_data=self.who.encode() + b"\x00\xff\r\n")

    def remember(self, event):
        self.seen["texts"].append(event["text"])
        self.seen["by"].setdefault(self.who, []).append(len(self.seen["texts"]))

    def rename_greeting(self, event):
        if event["who"] == self.who:
            self.greeting = event["text"]

    def greeted(self, event):
        self.send(f"{self.greeting} {event['text']}")

    def measured(self, event):
        self.count += 1
        self.send(f"{self.who} {len(event['text'])}")

    def passed_on(self, event):
        self.count += 1
        self.send(event["text"])

    def store(self, event):
        get_user_model().objects.create(username=f"{event['prefix']}-{self.who}")
        self.send("stored")

    # Who is meant.

    def skip_left(self, event):
        if self.channel_name == event["sender"]:
            return
        self.send(event["text"])

    def skip_right(self, event):
        if event["sender"] == self.channel_name:
            return
        self.send(event["text"])

    def skip_unequal(self, event):
        if event["sender"] != self.channel_name:
            self.send(event["text"])

    def skip_listed(self, event):
        if self.channel_name in event["names"]:
            return
        self.send(event["text"])

    def only_listed(self, event):
        if self.channel_name not in event["names"]:
            return
        self.send(event["text"])

    def mark_own(self, event):
        mine = event["sender"] == self.channel_name
        self.send(f"{'me' if mine else 'other'}: {event['text']}")

    def skip_user(self, event):
        if event["user_id"] == self.scope["user"].id:
            return
        self.send(event["text"])

    # How handlers are written.

    def guarded(self, event):
        try:
            self.send(f"{self.who} tries")
            if event["fail"]:
                raise ValueError(event["text"])
        except Exception as error:
            self.send(f"{self.who} caught {error}")

    def guarded_bare(self, event):
        try:
            self.send(f"{self.who} tries {event['text']}")
        except:  # noqa: E722
            self.send("nobody should see this")

    def changing(self, event):
        event["text"] += self.who
        event["nested"]["list"].append(self.who)
        event["nested"]["deeper"]["who"] = self.who
        self.send(json.dumps([event["text"], event["nested"]], sort_keys=True))

    def forwarded(self, event):
        self.plain({**event, "text": f"forwarded {event['text']}"})
        self.count_up(event)

    @property
    def title(self):
        return f"Doctor {self.who}"

    @cached_property
    def initial(self):
        return self.who[0].upper()

    def _signed(self, text):
        return f"{text}, {self.title} ({self.initial})"

    def by_property(self, event):
        self.send(self._signed(event["text"]))

    def by_name(self, event):
        self.send(str(getattr(self, event["attribute"])))

    # How connections end.

    def kick(self, event):
        if self.who in event["who"]:
            self.close(code=4011, reason="not you")

    def kick_every(self, event):
        self.count += 1
        self.close(code=4012, reason=f"{self.who} out")

    def farewell(self, event):
        self.send(f"bye {self.who}")
        self.close(code=event["code"])

    def send_and_close(self, event):
        self.send(f"bye {self.who}", close=event["close"])

    def some_fail(self, event):
        self.send(f"{self.who} before")
        if self.who in event["who"]:
            raise RuntimeError("by request")

    def stop(self, event):
        if self.who in event["who"]:
            raise StopConsumer()

    # Groups from inside.

    def relay(self, event):
        message = {"type": "plain", "text": f"{event['text']} relayed"}
        if self.who in event["who"]:
            async_to_sync(self.channel_layer.group_send)(event["to"], message)

    def relay_all(self, event):
        async_to_sync(self.channel_layer.group_send)(event["to"], {"type": "plain", "text": event["text"]})

    def countdown(self, event):
        self.send(f"{self.who} {event['number']}")
        if event["number"] and event["sender"] == self.channel_name:
            self.tell({**event, "number": event["number"] - 1})

    def leave(self, event):
        if self.who in event["who"]:
            async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)
            self.send("left")

    def join(self, event):
        if self.who in event["who"]:
            async_to_sync(self.channel_layer.group_add)(event["group"], self.channel_name)
            self.send("joined")

    def to_myself(self, event):
        async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "count.up"})
        self.send(f"{self.who} {event['text']}")


class AsyncMember(AsyncWebsocketConsumer):
    """The same in async style, as far as the style makes a difference."""

    greeting = "hello"

    async def connect(self):
        self.who = name_of(self.scope)
        self.user = self.scope["user"]
        self.group = f"members_{self.scope['url_route']['kwargs']['room_name']}"
        self.count = 0
        self.seen = {"texts": [], "by": {}}
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive(self, text_data):
        content = json.loads(text_data)
        if "report" in content:
            kept = [content["report"], self.who, self.count, self.greeting, self.seen]
            await self.send(json.dumps(kept, sort_keys=True))
        elif "name" in content:
            await self.send(json.dumps(self.channel_name))
        else:
            for event in content.get("events", [content]):
                await self.tell(event)
        if "direct" in content:
            await self.send(content["direct"])

    async def tell(self, event):
        event = {"sender": self.channel_name, "user_id": self.user.id, **event}
        await self.channel_layer.group_send(self.group, event)

    async def disconnect(self, code):
        note(self.scope, "disconnect", code, self.count)

    async def plain(self, event):
        await self.send(event["text"])

    async def kick_all(self, event):
        await self.close(code=4010, reason="closing time")

    async def all_fail(self, event):
        await self.send("before")
        raise RuntimeError("by request")

    async def greet(self, event):
        await self.send(f"{self.user.username or 'nobody'} reads {event['text']}")

    async def greet_by_scope(self, event):
        scope = self.scope
        await self.send(f"{scope['user'].username or 'nobody'} in {scope['path'][:10]} reads {event['text']}")

    async def count_up(self, event):
        self.count += 1
        await self.send(f"{self.who} {self.count}")

    async def chat_user_joined(self, event):
        await self.send(f"{self.who} hears of {event['text']}")

    async def binary(self, event):
        await self.send(bytes_data=self.who.encode() + b"\x00\xff\r\n")

    async def remember(self, event):
        self.seen["texts"].append(event["text"])
        self.seen["by"].setdefault(self.who, []).append(len(self.seen["texts"]))

    async def rename_greeting(self, event):
        if event["who"] == self.who:
            self.greeting = event["text"]

    async def greeted(self, event):
        await self.send(f"{self.greeting} {event['text']}")

    async def measured(self, event):
        self.count += 1
        await self.send(f"{self.who} {len(event['text'])}")

    async def passed_on(self, event):
        self.count += 1
        await self.send(event["text"])

    async def store(self, event):
        create = database_sync_to_async(get_user_model().objects.create)
        await create(username=f"{event['prefix']}-{self.who}")
        await self.send("stored")

    async def skip_left(self, event):
        if self.channel_name == event["sender"]:
            return
        await self.send(event["text"])

    async def skip_right(self, event):
        if event["sender"] == self.channel_name:
            return
        await self.send(event["text"])

    async def skip_unequal(self, event):
        if event["sender"] != self.channel_name:
            await self.send(event["text"])

    async def skip_listed(self, event):
        if self.channel_name in event["names"]:
            return
        await self.send(event["text"])

    async def only_listed(self, event):
        if self.channel_name not in event["names"]:
            return
        await self.send(event["text"])

    async def mark_own(self, event):
        mine = event["sender"] == self.channel_name
        await self.send(f"{'me' if mine else 'other'}: {event['text']}")

    async def skip_user(self, event):
        if event["user_id"] == self.scope["user"].id:
            return
        await self.send(event["text"])

    async def guarded(self, event):
        try:
            await self.send(f"{self.who} tries")
            if event["fail"]:
                raise ValueError(event["text"])
        except Exception as error:
            await self.send(f"{self.who} caught {error}")

    async def guarded_bare(self, event):
        try:
            await self.send(f"{self.who} tries {event['text']}")
        except:  # noqa: E722
            await self.send("nobody should see this")

    async def changing(self, event):
        event["text"] += self.who
        event["nested"]["list"].append(self.who)
        event["nested"]["deeper"]["who"] = self.who
        await self.send(json.dumps([event["text"], event["nested"]], sort_keys=True))

    async def slow(self, event):
        await asyncio.sleep(0.01)
        await self.send(f"{self.who} {event['text']} at last")

    async def kick(self, event):
        if self.who in event["who"]:
            await self.close(code=4011, reason="not you")

    async def kick_every(self, event):
        self.count += 1
        await self.close(code=4012, reason=f"{self.who} out")

    async def farewell(self, event):
        await self.send(f"bye {self.who}")
        await self.close(code=event["code"])

    async def send_and_close(self, event):
        await self.send(f"bye {self.who}", close=event["close"])

    async def some_fail(self, event):
        await self.send(f"{self.who} before")
        if self.who in event["who"]:
            raise RuntimeError("by request")

    async def stop(self, event):
        if self.who in event["who"]:
            raise StopConsumer()

    async def relay(self, event):
        if self.who in event["who"]:
            await self.channel_layer.group_send(event["to"], {"type": "plain", "text": f"{event['text']} relayed"})

    async def relay_all(self, event):
        await self.channel_layer.group_send(event["to"], {"type": "plain", "text": event["text"]})

    async def countdown(self, event):
        await self.send(f"{self.who} {event['number']}")
        if event["number"] and event["sender"] == self.channel_name:
            await self.tell({**event, "number": event["number"] - 1})

    async def leave(self, event):
        if self.who in event["who"]:
            await self.channel_layer.group_discard(self.group, self.channel_name)
            await self.send("left")

    async def join(self, event):
        if self.who in event["who"]:
            await self.channel_layer.group_add(event["group"], self.channel_name)
            await self.send("joined")

    async def to_myself(self, event):
        await self.channel_layer.send(self.channel_name, {"type": "count.up"})
        await self.send(f"{self.who} {event['text']}")


class Board(AsyncWebsocketConsumer):
    """In the same groups as the members, with handlers of the same names that are the same for all boards."""

    async def connect(self):
        self.group = f"members_{self.scope['url_route']['kwargs']['room_name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive(self, text_data):
        await self.channel_layer.group_send(self.group, json.loads(text_data))

    async def plain(self, event):
        await self.send(f"board: {event['text']}")

    async def greet(self, event):
        await self.send(f"board: somebody reads {event['text']}")

    async def changing(self, event):
        event["nested"]["list"].append("board")
        await self.send(json.dumps(event["nested"], sort_keys=True))


class JsonMember(JsonWebsocketConsumer):
    """Its handlers send JSON, with a number of its own."""

    def connect(self):
        self.number = 0
        async_to_sync(self.channel_layer.group_add)(self.scope["url_route"]["kwargs"]["room_name"], self.channel_name)
        self.accept()

    def receive_json(self, content, **kwargs):
        group = self.scope["url_route"]["kwargs"]["room_name"]
        async_to_sync(self.channel_layer.group_send)(group, {"type": "numbered", "content": content})

    def numbered(self, event):
        self.number += 1
        self.send_json({"who": name_of(self.scope), "number": self.number, "content": event["content"]})


class AsyncJsonMember(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.number = 0
        await self.channel_layer.group_add(self.scope["url_route"]["kwargs"]["room_name"], self.channel_name)
        await self.accept()

    async def receive_json(self, content, **kwargs):
        group = self.scope["url_route"]["kwargs"]["room_name"]
        await self.channel_layer.group_send(group, {"type": "numbered", "content": content})

    async def numbered(self, event):
        self.number += 1
        await self.send_json({"who": name_of(self.scope), "number": self.number, "content": event["content"]})


class Signing:
    """Sends a signature behind what the next class sends."""

    def letter(self, event):
        super().letter(event)
        self.send(f"signed {self.who}")


class Counting:
    """Counts before the next class sends."""

    def letter(self, event):
        self.letters += 1
        super().letter({**event, "text": f"{self.letters}. {event['text']}"})


class Writing:
    def letter(self, event):
        self.send(f"{event['text']} for {self.who}")


class Chain(Signing, Counting, Writing, WebsocketConsumer):
    """A handler that is spread over mixins."""

    def connect(self):
        self.who, self.letters = name_of(self.scope), 0
        self.group = f"chain_{self.scope['url_route']['kwargs']['room_name']}"
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()

    def receive(self, text_data):
        async_to_sync(self.channel_layer.group_send)(self.group, {"type": "letter", "text": text_data})


class TenantMember(AsyncWebsocketConsumer):
    """Reads what a middleware left in the scope, at a group event."""

    async def connect(self):
        await self.channel_layer.group_add(self.scope["url_route"]["kwargs"]["room_name"], self.channel_name)
        await self.accept()

    async def receive(self, text_data):
        event = {"type": "in.tenant", "text": text_data}
        await self.channel_layer.group_send(self.scope["url_route"]["kwargs"]["room_name"], event)

    async def in_tenant(self, event):
        await self.send(f"{event['text']} in {self.scope['tenant']}")
