"""A module's tree: what its names stand for, which classes it has, what lies around a node."""

from __future__ import annotations

import ast

import pytest

from grip_consumers.syntax import Source, is_container, name_chain, root_of

TEXT = """
import os.path
import asyncio as aio
from threading import Timer as T
from ..models import Room

def make():
    class Inner:
        pass

if True:
    class Chat(Base):
        names: list = []
        def connect(self):
            self.a = 1
            (self.b, other) = 1, 2
            aio.create_task(1)
        class Meta:
            pass
else:
    limit = 1
"""


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("text", "chain", "dotted"),
    [
        ("aio.create_task", "aio.create_task", "asyncio.create_task"),
        ("T", "T", "threading.Timer"),
        ("os.path.join", "os.path.join", "os.path.join"),
        ("Room.objects.all()", "Room.objects.all", "..models.Room.objects.all"),
        ("f(1)(2).x", "f.x", "f.x"),
        ("x[0].y", "", ""),
    ],
)
def test_names_are_followed_through_imports(text: str, chain: str, dotted: str) -> None:
    assert name_chain(expression(text)) == chain
    assert Source(TEXT, "x.py").dotted(expression(text)) == dotted


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("x['a']['b']", "x"),
        ("x.get(1)", "x"),
        ("x.setdefault(1, []).y", "x.setdefault(1, []).y"),
        ("x.pop()", "x.pop()"),
    ],
)
def test_the_root_is_what_is_looked_into(text: str, root: str) -> None:
    assert ast.unparse(root_of(expression(text))) == root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", True),
        ("{}", True),
        ("collections.deque()", True),
        ("()", False),
        ("f()", False),
        ("{1: 2 for x in y}", True),
    ],
)
def test_containers_are_told_from_other_values(text: str, expected: bool) -> None:
    assert is_container(expression(text)) is expected


def test_classes_are_found_wherever_they_are_defined() -> None:
    classes = Source(TEXT, "x.py").classes
    assert list(classes) == ["make.<locals>.Inner", "Chat", "Chat.Meta"]
    assert classes["make.<locals>.Inner"].function is not None
    assert list(classes["Chat"].methods) == ["connect"]
    assert classes["Chat"].assigned == {"a", "b"}


def test_the_values_of_a_module_include_those_of_its_branches() -> None:
    assert list(Source(TEXT, "x.py").module_values()) == ["limit"]


def test_a_node_knows_what_it_lies_in() -> None:
    source = Source(TEXT, "x.py")
    call = next(node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    assert [type(node).__name__ for node in source.above(call)] == ["Expr", "FunctionDef", "ClassDef", "If", "Module"]
    assert source.function_of(call) is source.classes["Chat"].methods["connect"]
    assert source.function_of(source.tree.body[0]) is source.tree
