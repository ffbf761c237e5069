"""Taking out and putting in, with comments and line breaks."""

from __future__ import annotations

from typing import Any

import libcst as cst
import pytest

from grip_consumers.migrate import elements

REMOVED = {
    ('["a", "b", "c"]', (0,)): '["b", "c"]',
    ('["a", "b", "c"]', (1,)): '["a", "c"]',
    ('["a", "b", "c"]', (2,)): '["a", "b"]',
    ('["a", "b", "c",]', (2,)): '["a", "b",]',
    ('["a", "b" , "c"]', (0, 1)): '["c"]',
    ('["a"]', (0,)): "[]",
    ('[\n    "a",\n]', (0,)): "[]",
    ('[\n    "a",  # gone\n    "b",\n]', (0,)): '[\n    "b",\n]',
    ('[\n    "a",  # stays\n    "b",\n]', (1,)): '[\n    "a",  # stays\n]',
    ('[\n    "a",  # stays\n    "b"\n]', (1,)): '[\n    "a"  # stays\n]',
    ('[\n    # of b\n    "a",\n    # of c\n    "c",\n]', (0,)): '[\n    # of b\n    # of c\n    "c",\n]',
    ('["a",\n "b", "c"]', (1,)): '["a",\n "c"]',
    ('["a", "b",\n "c"]', (1,)): '["a",\n "c"]',
    ('["a",\n "b"]', (1,)): '["a"]',
    ('["a", # of a\n "b"]', (1,)): '["a" # of a\n ]',
    ('("a", "b")', (0,)): '("b",)',
    ('("a", "b")', (1,)): '("a",)',
    ('("a",)', (0,)): "()",
    ('{"a": 1, "b": 2}', (0,)): '{"b": 2}',
    ('{"a", "b"}', (1,)): '{"a"}',
    ('"a", "b"', (1,)): '("a",)',
}

INSERTED = {
    ("[]", 0): '["x"]',
    ('["a", "b"]', 0): '["x", "a", "b"]',
    ('["a", "b"]', 1): '["a", "x", "b"]',
    ('["a"]', 0): '["x", "a"]',
    ('("a",)', 0): '("x", "a",)',
    ('["a",\n "b"]', 0): '["x",\n "a",\n "b"]',
    ('[\n    "a",\n]', 0): '[\n    "x",\n    "a",\n]',
    ('[  # all\n    # of a\n    "a",\n]', 0): '[  # all\n    "x",\n    # of a\n    "a",\n]',
    ('[\n    "a",  # of a\n    "b",\n]', 1): '[\n    "a",  # of a\n    "x",\n    "b",\n]',
}


def parsed(text: str) -> Any:
    return cst.parse_expression(text)


def code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


@pytest.mark.parametrize("case", REMOVED, ids=lambda case: f"{case[0]} without {case[1]}")
def test_removed(case: tuple[str, tuple[int, ...]]) -> None:
    assert code(elements.remove(parsed(case[0]), case[1])) == REMOVED[case]


@pytest.mark.parametrize("case", INSERTED, ids=lambda case: f"{case[0]} at {case[1]}")
def test_inserted(case: tuple[str, int]) -> None:
    assert code(elements.insert(parsed(case[0]), case[1], cst.Element(cst.SimpleString('"x"')))) == INSERTED[case]


@pytest.mark.parametrize(("example", "quoted"), [("'a'", "'x'"), ('"a"', '"x"'), ("'''a'''", '"x"'), ("a", '"x"')])
def test_quotes_are_those_of_the_neighbour(example: str, quoted: str) -> None:
    assert elements.quoted_like("x", parsed(example)).value == quoted
