"""One parsed file, and the plan of what changes in it.

The planners (`imports`, `settings`, `strings`) read the tree and write into the plan; nothing is changed before all
have read it, so that lines and scopes are those of the file.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider, Scope, ScopeProvider

from . import formfeeds

__all__ = ["Note", "Source", "dotted_name", "find_all", "text_of"]

Node = TypeVar("Node", bound=cst.CSTNode)
#: Makes the new node from the node whose children have been changed already; None takes it out.
Change = Callable[[Any], "cst.CSTNode | None"]


@dataclass(frozen=True, order=True)
class Note:
    """What is left to the reader.

    line  from 1
    kind  a short name, by which it can be ignored: "dependency"
    text  sentences: what was found, what to do
    """

    line: int
    kind: str
    text: str


class Source:
    """A module's tree with its metadata, and the plan.

    Args:
        text: the file's, decoded, without a byte order mark.
        path: relative to the root of the search, with slashes; says what kind of file it is.

    Raises:
        SyntaxError: it is not Python.
        RecursionError: it is nested too deeply; its methods may raise this, too.
    """

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.notes: list[Note] = []
        self._changes: dict[cst.CSTNode, list[Change]] = defaultdict(list)
        try:
            # Has the better messages, and the limits: what is nested without end takes libcst's parser down.
            ast.parse(text, path)
            tree = _parsed(text)
        except SyntaxError as error:
            raise SyntaxError(f"line {error.lineno}: {error.msg}") from error
        except cst.ParserSyntaxError as error:
            raise SyntaxError(f"line {error.raw_line}: {error.message.removeprefix('parser error: ')}") from error
        except ValueError as error:
            raise SyntaxError(str(error)) from error
        if tree is None:
            raise SyntaxError(_not_kept(text))
        # The tree is used by nobody else, so it need not be copied; the nodes are the keys of the plan.
        wrapper = MetadataWrapper(tree, unsafe_skip_copy=True)
        self.tree = wrapper.module
        self._positions = wrapper.resolve(PositionProvider)
        self._wrapper = wrapper
        self._nodes = list(find_all(self.tree))
        self._kinds = {type(node) for node in self._nodes}
        self._added = formfeeds.lines_apart(tree.code) if "\x0c" in text else []
        self._parents = {child: node for node in self._nodes for child in node.children}

    def line(self, node: cst.CSTNode) -> int:
        line = self._positions[node].start.line
        return line - bisect_left(self._added, line)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return self._parents.get(node)

    def ancestors(self, node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
        """Each node above this one with the node by which it was reached, from the inside out."""
        below, above = node, self.parent(node)
        while above is not None:
            yield above, below
            below, above = above, self.parent(above)

    def scopes(self) -> set[Scope]:
        try:
            scopes = self._wrapper.resolve(ScopeProvider).values()
        except KeyError as error:  # what libcst makes of it
            raise RecursionError from error
        return {scope for scope in scopes if scope is not None}

    def find(self, kind: type[Node]) -> Iterator[Node]:
        """Every node of a kind, in the order of the text."""
        # Classes of nodes are abstract ones, of which isinstance() is slow, and there are thousands of nodes.
        kinds = {found for found in self._kinds if issubclass(found, kind)}
        return (cast("Node", node) for node in self._nodes if type(node) in kinds)

    def change(self, node: cst.CSTNode, change: Change) -> None:
        self._changes[node].append(change)

    def is_changed(self, node: cst.CSTNode) -> bool:
        return node in self._changes

    def note(self, node: cst.CSTNode, kind: str, text: str) -> None:
        self.notes.append(Note(self.line(node), kind, text))

    def changed_text(self) -> str:
        """The text with the whole plan carried out."""
        if not self._changes:
            return self.text
        return formfeeds.together(self.tree.visit(_Apply(self._changes)).code)


def _parsed(text: str) -> cst.Module | None:
    """The tree of a text; None if there is none of which the text can be made again."""
    tree = cst.parse_module(text)
    if tree.code == text:
        return tree
    kept = formfeeds.apart(text)
    tree = cst.parse_module(kept) if kept != text else tree
    return tree if tree.code == kept and formfeeds.together(kept) == text else None


def _not_kept(text: str) -> str:
    if re.search(r"\r(?!\n)", text):
        return (
            "has lines that end in a carriage return alone, as old Macs had them: end them in line feeds, and run again"
        )
    return "has white space that would be lost: look for control characters, take them out, and run again"


class _Apply(cst.CSTTransformer):
    def __init__(self, changes: dict[cst.CSTNode, list[Change]]) -> None:
        super().__init__()
        self._changes = changes

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        for change in self._changes.get(original_node, ()):
            updated_node = change(updated_node)
            if updated_node is None:
                return cst.RemoveFromParent()
        return updated_node


def find_all(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A node and everything below it, in the order of the text."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(current.children))


def dotted_name(node: cst.CSTNode | None) -> str:
    """The "a.b.c" of such an expression; "" for any other."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        owner = dotted_name(node.value)
        return f"{owner}.{node.attr.value}" if owner else ""
    return ""


def text_of(node: cst.CSTNode | None) -> str | None:
    """The value of a string literal; None for anything else, bytes among it."""
    if isinstance(node, cst.SimpleString | cst.ConcatenatedString):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None
