"""What the scan of source reports, and what it lets pass."""

from __future__ import annotations

import textwrap

import pytest

from grip_consumers.compatibility import RULES
from grip_consumers.scan import Finding, scan

HEAD = """
import asyncio
import asyncio as aio
import json
import threading
import time
from asyncio import create_task, sleep
from collections import defaultdict
from dataclasses import dataclass
from threading import Timer

import httpx
import redis.asyncio as redis
from asgiref.sync import async_to_sync
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer

from .models import Room
"""


def found(text: str, **kwargs: object) -> list[str]:
    """The rules that a module breaks, each with the method where it does."""
    source = HEAD + textwrap.dedent(text)
    return [f"{it.rule.name} {it.where}" for it in scan(source, "consumers.py", **kwargs)]  # type: ignore[arg-type]


def method(body: str, name: str = "receive", is_async: bool = True) -> str:
    kind = "async def" if is_async else "def"
    return f"class Chat(AsyncWebsocketConsumer):\n    {kind} {name}(self, text_data=None):\n" + textwrap.indent(
        textwrap.dedent(body).strip("\n"), " " * 8
    )


#: The body of a handler → the rules that it breaks.
BODIES = {
    "a task": ("asyncio.create_task(self.run())", ["background-task"]),
    "a task by another name of the module": ("aio.ensure_future(self.run())", ["background-task"]),
    "a task by an imported function": ("create_task(self.run())", ["background-task"]),
    "a task of the loop": ("asyncio.get_running_loop().create_task(self.run())", ["background-task"]),
    "a task kept on the instance": ("self.task = asyncio.create_task(self.run())", ["background-task"]),
    "a task in a local variable that nobody awaits": (
        "task = create_task(self.run())\nself.ok = True",
        ["background-task"],
    ),
    "a thread": ("threading.Thread(target=self.run, daemon=True).start()", ["background-task"]),
    "a thread that is joined": ("thread = threading.Thread(target=f)\nthread.start()\nthread.join()", []),
    "a task that is awaited": ("task = create_task(self.run())\nawait task", []),
    "a task that is awaited at once": ("await asyncio.create_task(self.run())", []),
    "tasks that are gathered": ("await asyncio.gather(create_task(a()), create_task(b()))", []),
    "tasks of a list that is gathered": (
        "tasks = []\nfor name in names:\n    tasks.append(create_task(f(name)))\nawait asyncio.gather(*tasks)",
        [],
    ),
    "tasks of a comprehension that is gathered": (
        "tasks = [create_task(f(name)) for name in names]\nawait asyncio.gather(*tasks)",
        [],
    ),
    "tasks of a group": ("async with asyncio.TaskGroup() as group:\n    group.create_task(self.run())", []),
    "a timer": ("Timer(5, self.run).start()", ["timer"]),
    "a timer of the module": ("threading.Timer(5, self.run).start()", ["timer"]),
    "a call later": ("asyncio.get_event_loop().call_later(5, self.run)", ["timer"]),
    "a loop with a sleep": ("while self.on:\n    await asyncio.sleep(1)", ["sleeping-loop"]),
    "a loop with a sleep by an imported function": ("while True:\n    await sleep(1)", ["sleeping-loop"]),
    "a loop over data with a sleep": ("for word in words:\n    time.sleep(0.1)", ["sleeping-loop"]),
    "an inner loop with a sleep": ("while True:\n    for x in xs:\n        await sleep(1)", ["sleeping-loop"]),
    "a loop without an end": ("while True:\n    await self.step()", ["sleeping-loop"]),
    "a loop with an end": ("while True:\n    if await self.step():\n        break", []),
    "a sleep without a loop": ("await asyncio.sleep(1)", []),
    "a turn for others in a loop": ("for x in xs:\n    await asyncio.sleep(0)", []),
    "a few tries": (
        "for attempt in range(3):\n    try:\n        return f()\n    except OSError:\n        time.sleep(0.1)",
        [],
    ),
    "the layer's receive": ("await self.channel_layer.receive(name)", ["layer-receive"]),
    "another layer's receive": ("await get_channel_layer('x').receive(name)", ["layer-receive"]),
    "the receive of its own channel": ("await self.channel_receive()", ["layer-receive"]),
    "its own method receive": ("await self.receive(text_data='x')", []),
    "a lock": ("self.lock = asyncio.Lock()", ["unkeepable-state"]),
    "a client": ("self.client = httpx.AsyncClient()", ["unkeepable-state"]),
    "a client that is awaited": ("self.redis = await redis.from_url(URL)", ["unkeepable-state"]),
    "an open file": ("self.file = open(name)", ["unkeepable-state"]),
    "a generator": ("self.lines = (line for line in lines)", ["unkeepable-state"]),
    "a lambda in a dictionary": ("self.commands = {'a': lambda: self.send('a')}", ["unkeepable-state"]),
    "a lambda that uses nothing around it": ("self.key = lambda move, n: move['n'] + n", []),
    "methods, loggers and layers": (
        "self.commands = {'a': self.send}\nself.log = logging.getLogger('x')\nself.layer = get_channel_layer()",
        [],
    ),
    "a queryset": ("self.rooms = Room.objects.filter(open=True).order_by('name')", ["unkeepable-state"]),
    "an instance": ("self.room = Room.objects.get(pk=1)", []),
    "a list of a queryset": ("self.rooms = list(Room.objects.all())", []),
    "what is let go of again": ("self.file = open(name)\nself.file.close()\nself.file = None", []),
    "what is deleted again": ("self.file = open(name)\ndel self.file", []),
    "plain values": ("self.names = [1, 'a', {'b': None}]", []),
    "what a package of clients calls otherwise": ("self.timeout = httpx.Timeout(5)", []),
    "a late accept": ("await self.accept()", []),
    "a group for each of many": (
        "for room in rooms:\n    await self.channel_layer.group_add(room, self.channel_name)",
        ["too-many-groups"],
    ),
    "a group for each of two": (
        "for room in ('a', 'b'):\n    await self.channel_layer.group_add(room, self.channel_name)",
        [],
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_a_handler_does(name: str) -> None:
    body, rules = BODIES[name]
    assert found(method(body)) == [f"{rule} Chat.receive" for rule in rules]


#: A module → the rules that it breaks.
MODULES = {
    "a dictionary of the module": (
        """
        rooms = {}
        class Chat(WebsocketConsumer):
            def connect(self):
                rooms[self.channel_name] = self
        """,
        ["process-state Chat.connect"],
    ),
    "a nested set of the module, by another name": (
        """
        rooms = defaultdict(set)
        class Chat(WebsocketConsumer):
            def connect(self):
                room = rooms["x"]
                room.add(1)
            def disconnect(self, code):
                rooms["x"].discard(1)
        """,
        ["process-state Chat.connect"],
    ),
    "a dictionary that a function of the module fills": (
        """
        players: dict[str, int] = {}
        def enter(name):
            players.setdefault(name, []).append(1)
        class Chat(WebsocketConsumer):
            def connect(self):
                enter(self.channel_name)
        """,
        ["process-state enter"],
    ),
    "a counter of the module": (
        """
        count = 0
        class Chat(WebsocketConsumer):
            def connect(self):
                global count
                count += 1
        """,
        ["process-state Chat.connect"],
    ),
    "a list of the class": (
        """
        class Chat(WebsocketConsumer):
            members = []
            def connect(self):
                self.members.append(self.channel_name)
        """,
        ["process-state Chat.connect"],
    ),
    "a dictionary of the class, by its name": (
        """
        class Chat(WebsocketConsumer):
            games = {}
            def receive(self, text_data):
                del Chat.games["x"]
        """,
        ["process-state Chat.receive"],
    ),
    "a counter of the class": (
        """
        class Chat(WebsocketConsumer):
            count = 0
            def connect(self):
                type(self).count += 1
        """,
        ["process-state Chat.connect"],
    ),
    "a dictionary of a base": (
        """
        class Base(WebsocketConsumer):
            games = {}
        class Chat(Base):
            def receive(self, text_data):
                self.games[text_data]["x"] = 1
        """,
        ["process-state Chat.receive"],
    ),
    "a constant of the module": (
        """
        COMMANDS = {"a": 1}
        class Chat(WebsocketConsumer):
            def receive(self, text_data):
                self.done = COMMANDS[text_data]
        """,
        [],
    ),
    "a local name that hides one of the module": (
        """
        rooms = {}
        class Chat(WebsocketConsumer):
            def receive(self, text_data):
                rooms = {}
                rooms["a"] = 1
        """,
        [],
    ),
    "a list of the class that each instance replaces": (
        """
        class Chat(WebsocketConsumer):
            members = []
            def connect(self):
                self.members = []
                self.members.append(1)
        """,
        [],
    ),
    "what something else than a consumer fills": (
        """
        handlers = {}
        def register(name):
            handlers[name] = 1
        class Chat(WebsocketConsumer):
            def receive(self, text_data):
                handlers[text_data]()
        """,
        [],
    ),
    "an accept in receive": (
        """
        class Chat(WebsocketConsumer):
            def connect(self):
                pass
            def receive(self, text_data):
                self.login()
            def login(self):
                self.accept()
        """,
        ["late-accept Chat.login"],
    ),
    "an accept in an event's handler": (
        """
        class Chat(WebsocketConsumer):
            def connect(self):
                self.admitted
            def admitted(self, event):
                pass
            def granted(self, event):
                self.accept()
        """,
        ["late-accept Chat.granted"],
    ),
    "an accept in a method that connect calls": (
        """
        class Chat(WebsocketConsumer):
            def connect(self):
                self.login()
            def receive(self, text_data):
                self.login()
            def login(self):
                self.accept()
        """,
        [],
    ),
    "an object of a plain class": (
        """
        class Game:
            pass
        class Chat(WebsocketConsumer):
            def connect(self):
                self.game = Game()
        """,
        ["unkeepable-state Chat.connect"],
    ),
    "an object of a dataclass": (
        """
        @dataclass
        class Game:
            a: int = 1
        class Chat(WebsocketConsumer):
            def connect(self):
                self.game = Game()
        """,
        [],
    ),
    "an object of a class that inherits from elsewhere": (
        """
        class Game(Room):
            pass
        class Chat(WebsocketConsumer):
            def connect(self):
                self.game = Game()
        """,
        [],
    ),
    "a transient client": (
        """
        class Chat(WebsocketConsumer):
            transient = ("client",)
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.client = httpx.Client()
        """,
        [],
    ),
    "a class that a function makes": (
        """
        def make(name):
            class Chat(WebsocketConsumer):
                title = name
            return Chat.as_asgi()
        """,
        ["local-class make.<locals>.Chat"],
    ),
    "a class of a test": (
        """
        def test_chat():
            class Chat(WebsocketConsumer):
                pass
            assert Chat
        """,
        [],
    ),
    "many groups": (
        f"""
        class Chat(WebsocketConsumer):
            groups = {[str(number) for number in range(20)]}
        """,
        ["too-many-groups Chat"],
    ),
    "as many groups as the proxy serves": (
        f"""
        class Chat(WebsocketConsumer):
            groups = {[str(number) for number in range(19)]}
        """,
        [],
    ),
    "a consumer of HTTP": (
        """
        class Ticker(AsyncHttpConsumer):
            async def handle(self, body):
                while True:
                    await self.send_body(b"x", more_body=True)
                    await asyncio.sleep(1)
        """,
        [],
    ),
    "a worker": (
        """
        from channels.consumer import SyncConsumer
        class Thumbnails(SyncConsumer):
            def generate(self, message):
                time.sleep(1)
                self.lock = threading.Lock()
        """,
        [],
    ),
    "a plain consumer with methods for a WebSocket": (
        """
        from channels.consumer import AsyncConsumer
        class Echo(AsyncConsumer):
            async def websocket_connect(self, event):
                create_task(self.run())
        """,
        ["background-task Echo.websocket_connect"],
    ),
    "a mixin that uses the channel layer": (
        """
        class Ticks:
            async def start(self):
                await self.channel_layer.group_add("a", self.channel_name)
                create_task(self.run())
        """,
        ["background-task Ticks.start"],
    ),
    "a class that is no consumer": (
        """
        class Service:
            def start(self):
                self.thread = threading.Thread(target=self.run)
        """,
        [],
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_does(name: str) -> None:
    text, places = MODULES[name]
    assert found(text) == places


def test_classes_can_be_named() -> None:
    text = """
    class One:
        def start(self):
            create_task(f())
    class Two(WebsocketConsumer):
        def start(self):
            create_task(f())
    """
    assert found(text, classes=["One"]) == ["background-task One.start"]


def test_the_limit_of_the_proxy_can_be_given() -> None:
    text = "class Chat(WebsocketConsumer):\n    groups = ['a', 'b']\n"
    assert found(text, subscription_limit=2) == ["too-many-groups Chat"]


@pytest.mark.parametrize(
    ("comment", "rules"),
    [
        ("# grip: ignore", []),
        ("# grip: ignore[W026]", []),
        ("# grip: ignore[W021, timer]", []),
        ("# grip: ignore[W021]", ["timer Chat.receive"]),
        ("# grip", ["timer Chat.receive"]),
    ],
)
def test_a_line_can_be_left_alone(comment: str, rules: list[str]) -> None:
    assert found(method(f"Timer(1, f)  {comment}")) == rules


def test_a_finding_says_where_what_and_what_to_do() -> None:
    source = HEAD + method("asyncio.create_task(self.run())")
    (finding,) = scan(source, "chat/consumers.py")
    line = source.splitlines().index("        asyncio.create_task(self.run())") + 1
    detail = "starts what it does not wait for: asyncio.create_task(self.run())"
    rule = RULES["background-task"]
    assert finding == Finding(rule, "chat/consumers.py", line, "Chat.receive", detail)
    assert str(finding) == f"chat/consumers.py:{line}: Chat.receive {detail}. {rule.advice}"


def test_long_code_is_shown_in_part() -> None:
    (finding,) = scan(HEAD + method(f"create_task(self.run({'x' * 100}))"), "x.py")
    assert finding.detail.endswith("xxx…")
    assert len(finding.detail) < 100


def test_findings_come_by_line() -> None:
    text = method("create_task(a())\nself.lock = asyncio.Lock()\nTimer(1, f)")
    assert [name.partition(" ")[0] for name in found(text)] == ["background-task", "unkeepable-state", "timer"]


def test_what_is_no_python_is_an_error() -> None:
    with pytest.raises(SyntaxError):
        scan("class Chat(:", "x.py")


@pytest.mark.parametrize("text", ["", "\n", "x = 1", "class Chat(WebsocketConsumer): pass"])
def test_little_source_has_no_findings(text: str) -> None:
    assert scan(text, "x.py") == []
