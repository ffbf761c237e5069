"""A module's syntax tree, with what a look at single nodes does not show: imports, parents, the classes in it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

__all__ = [
    "MUTATORS",
    "Class",
    "Function",
    "Source",
    "is_container",
    "name_chain",
    "root_of",
    "shown",
    "stored_names",
    "within",
]

Function = ast.FunctionDef | ast.AsyncFunctionDef

#: Methods that change what they are called on, of the containers that Python brings.
MUTATORS = frozenset(
    {
        *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "insert"),
        *("pop", "popitem", "popleft", "remove", "reverse", "setdefault", "sort", "subtract", "update"),
    }
)
_CONTAINERS = frozenset(
    {
        *("Counter", "OrderedDict", "WeakKeyDictionary", "WeakSet", "WeakValueDictionary", "bytearray"),
        *("defaultdict", "deque", "dict", "list", "set"),
    }
)


def name_chain(node: ast.AST) -> str:
    """`a.b.c` of a name or a chain of attributes; of a call in it, as without; "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = name_chain(node.value)
        return f"{base}.{node.attr}" if base else ""
    return name_chain(node.func) if isinstance(node, ast.Call) else ""


def root_of(node: ast.expr) -> ast.expr:
    """What an expression like `x[…][…]`, `x.get(…)` or `x.setdefault(…)[…]` looks into: `x`."""
    while True:
        if isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOOKS_INTO:
            node = node.func.value
        else:
            return node


_LOOKS_INTO = frozenset({"get", "setdefault"})


def is_container(node: ast.AST | None) -> bool:
    """Whether an expression makes a new container that can be changed."""
    if isinstance(node, ast.Call):
        return name_chain(node.func).rpartition(".")[2] in _CONTAINERS
    return isinstance(node, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp))


def stored_names(root: ast.AST) -> set[str]:
    """The names that are bound or deleted anywhere below a node."""
    return {node.id for node in ast.walk(root) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}


def within(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run with a loop or function: not those of functions and classes that are defined in it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from within(child)


def shown(node: ast.AST, most: int = 60) -> str:
    """The source of a node, in one line, cut off where it gets long."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass
class Class:
    """A class of the source: its qualified name, and its own methods."""

    node: ast.ClassDef
    name: str
    #: The function that it is defined in, if it is.
    function: Function | None = None
    methods: dict[str, Function] = field(default_factory=dict)

    @cached_property
    def assigned(self) -> set[str]:
        """The attributes that its methods assign to their instance."""
        found = set()
        for method in self.methods.values():
            for node in ast.walk(method):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                    found.add(node.attr)
        return found


def is_self(node: ast.AST) -> bool:
    """Whether it is the name `self`."""
    return isinstance(node, ast.Name) and node.id == "self"


class Source:
    """A module. Raises SyntaxError."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.tree = ast.parse(text, file)
        self._parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        #: Local name → what an import, anywhere in the module, gives it: "asyncio", "asyncio.create_task".
        self.imports = dict(_imports(self.tree))
        self.classes = {found.name: found for found in _classes(self.tree.body, "", None)}
        self.functions = {node.name: node for node in self.tree.body if isinstance(node, Function)}

    def dotted(self, node: ast.AST) -> str:
        """What a name or a chain of attributes stands for, with imports resolved: "asyncio.create_task"."""
        first, dot, rest = name_chain(node).partition(".")
        return self.imports.get(first, first) + dot + rest

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the inside out."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def function_of(self, node: ast.AST) -> ast.AST:
        """The function, or else the module, in which a node runs."""
        return next((above for above in self.above(node) if isinstance(above, (*_FUNCTIONS, ast.Lambda))), self.tree)

    def module_values(self) -> dict[str, ast.expr]:
        """The names of the module → what they are first given there."""
        return _assigned_values(self.tree.body)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def class_values(node: ast.ClassDef) -> dict[str, ast.expr]:
    """The names of a class → what they are first given there."""
    return _assigned_values(node.body)


def _assigned_values(body: Iterable[ast.stmt]) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, statement.value)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            found.setdefault(statement.target.id, statement.value)
        elif isinstance(statement, (ast.If, ast.Try)):
            found = {**_assigned_values([*statement.body, *statement.orelse]), **found}
    return found


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else ((alias.name.partition(".")[0],) * 2)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def _classes(body: Iterable[ast.stmt], prefix: str, function: Function | None) -> Iterator[Class]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            methods = {inner.name: inner for inner in node.body if isinstance(inner, _FUNCTIONS)}
            yield Class(node, prefix + node.name, function, methods)
            yield from _classes(node.body, f"{prefix}{node.name}.", function)
        elif isinstance(node, _FUNCTIONS):
            yield from _classes(node.body, f"{prefix}{node.name}.<locals>.", node)
        else:
            inner = (child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.ExceptHandler)))
            yield from _classes(inner, prefix, function)  # type: ignore[arg-type]
