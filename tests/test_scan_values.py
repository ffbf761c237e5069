"""Values: which an instance cannot keep, and which belong to a process."""

from __future__ import annotations

import ast
import textwrap

import pytest

from grip_consumers.scan_values import keeps, kept_by_objects, unkeepable
from grip_consumers.syntax import Source

IMPORTS = "import asyncio, itertools, random, threading, queue, socket, subprocess, redis, requests, io\n"


def what(value: str) -> list[str]:
    source = Source(
        f"{IMPORTS}class Plain: pass\nclass Chat:\n    def connect(self):\n        self.x = {value}\n", "x.py"
    )
    return [found for _, _, found in unkeepable(source, source.classes["Chat"])]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("asyncio.Event()", "an event"),
        ("threading.RLock()", "a lock"),
        ("asyncio.Queue()", "a queue"),
        ("queue.Queue()", "a queue"),
        ("loop.create_future()", "a future"),
        ("asyncio.get_running_loop()", "an event loop"),
        ("socket.socket()", "a socket"),
        ("subprocess.Popen(['ls'])", "a process"),
        ("redis.Redis()", "a connection of redis"),
        ("requests.Session()", "a connection of requests"),
        ("io.BytesIO()", "an open file"),
        ("itertools.count()", "an iterator"),
        ("iter(names)", "an iterator"),
        ("random.Random(1)", "a generator of random numbers"),
        ("[open(name), 1]", "an open file"),
        ("cached or open(name)", "an open file"),
        ("open(name) if name else None", "an open file"),
        ("lambda: self.send('x')", "a lambda that uses what is around it"),
        ("lambda text=name: text", "a lambda that uses what is around it"),
        ("lambda self: self.name", None),
        ("lambda event: names[event]", None),
        ("Plain()", "an object of the plain class Plain"),
        ("Room.objects.all()[:5]", None),
        ("requests.get(url)", None),
        ("names.filter(1)", None),
        ("sorted(names)", None),
        ("redis.Redis().get('x')", None),
    ],
)
def test_what_an_instance_cannot_keep(value: str, expected: str | None) -> None:
    assert what(value) == ([expected] if expected else [])


KEEPER = """
class Keeper:
    def __init__(self):
        self.rooms = {}
        self.limit = 1
    def enter(self, name):
        self.rooms[name] = 1
class Reader:
    def __init__(self):
        self.rooms = {}
    def find(self, name):
        return self.rooms[name]
keeper, reader = Keeper(), Reader()
manager = Keeper()
readers = Reader()
class Chat:
    def connect(self):
        manager.enter(readers.find("x"))
        manager.enter("y")
"""


def test_objects_that_fill_a_container_of_theirs_are_told_from_those_that_read_it() -> None:
    source = Source(textwrap.dedent(KEEPER), "x.py")
    assert keeps(source.classes["Keeper"]) == "rooms"
    assert keeps(source.classes["Reader"]) == ""
    ((node, name, place),) = kept_by_objects(source, source.classes["Chat"])
    assert (name, place) == ("manager", "Keeper.rooms")
    assert isinstance(node, ast.Name)
