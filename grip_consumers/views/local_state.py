"""What a WebSocket view keeps in local variables from one message to the next, found in its source.

Such a view runs anew for each batch of messages: a counter beside its loop starts again, though the loop reads as if
it went on. Nothing is executed here; what cannot be decided is not reported.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

__all__ = ["Finding", "findings", "lost_in", "websocket_views"]


Kind = Literal["carried", "waits", "polls", "resets", "atomic", "swallows", "cleans", "misplaced"]


@dataclass(frozen=True)
class Finding:
    """One place of a view that does not do what it seems to.

    kind    "carried": `names` are carried around the loop at `line`
            "waits": the view waits at `line` though it has waited before
            "polls": the loop at `line` asks for messages without ever waiting for one
            "resets": `names`, keys of the state, are set at `line`, and changed by the loop below
            "atomic": the transaction that begins at `line` is waited in
            "swallows": the handler at `line` catches the exception by which a wait leaves the view
            "cleans": the socket is used at `line` where that happens whenever the view is left
            "misplaced": the decorator is on the method at `line`
    """

    view: str
    file: str
    line: int
    kind: Kind
    names: tuple[str, ...] = ()


def findings() -> list[Finding]:
    """What is to be found in all WebSocket views of the URLconf."""
    functions = {function: None for view in websocket_views() for function in _functions(view)}
    found = [finding for function in functions for finding in lost_in(function)]
    return found + [finding for cls in dict.fromkeys(_undecorated_classes()) for finding in _misplaced(cls)]


def websocket_views() -> Iterator[Callable[..., Any]]:
    """The views of ROOT_URLCONF that accept WebSockets; none without a ROOT_URLCONF."""
    for view in _views():
        if getattr(view, "accept_websocket", False) or getattr(settings, "WEBSOCKET_ACCEPT_ALL", False):
            yield view


def _views() -> Iterator[Callable[..., Any]]:
    try:
        patterns = get_resolver().url_patterns
    except (ImproperlyConfigured, AttributeError):
        return
    yield from _callbacks(patterns)


def _callbacks(patterns: Iterable[Any]) -> Iterator[Callable[..., Any]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _callbacks(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            yield pattern.callback


def _undecorated_classes() -> Iterator[type]:
    """The classes of the views of ROOT_URLCONF that accept no WebSockets."""
    for view in _views():
        cls = getattr(view, "view_class", None)
        if cls is not None and not getattr(view, "accept_websocket", False):
            yield cls


def _misplaced(cls: type) -> Iterator[Finding]:
    """The methods that have the decorator which belongs on `dispatch`."""
    for name in ("get", "post", "setup", "http_method_not_allowed"):
        method = getattr(cls, name, None)
        if getattr(method, "accept_websocket", False):
            code = getattr(inspect.unwrap(getattr(cls, name)), "__code__", None)
            file, line = (code.co_filename, code.co_firstlineno) if code else ("?", 0)
            yield Finding(f"{cls.__module__}.{cls.__qualname__}.{name}", file, line, "misplaced")


def _functions(view: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The functions that the project wrote for a view: itself, or the methods of its class."""
    cls = getattr(view, "view_class", None)
    if cls is None:
        yield inspect.unwrap(view)
        return
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] not in {"builtins", "django"}:
            yield from (inspect.unwrap(found) for found in vars(owner).values() if inspect.isfunction(found))


def lost_in(function: Callable[..., Any]) -> list[Finding]:
    """What is to be found in one function; nothing where there is no source."""
    try:
        lines, start = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return []
    definition = tree.body[0]
    if not isinstance(definition, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return []
    file = inspect.getsourcefile(function) or "?"
    name = f"{function.__module__}.{function.__qualname__}"
    found = _View(definition).places()
    return [Finding(name, file, start + line - 1, kind, names) for line, kind, names in found]


_Loop = (ast.For, ast.AsyncFor, ast.While)
_Scope = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: Methods that change what they are called on, of the containers that Python brings.
_MUTATORS = frozenset(
    {
        *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem"),
        *("popleft", "remove", "reverse", "setdefault", "sort", "subtract", "update", "write"),
    }
)
_CONTAINERS = frozenset(
    {"BytesIO", "Counter", "OrderedDict", "StringIO", "bytearray", "defaultdict", "deque", "dict", "list", "set"}
)
#: Methods of the socket that tell the client or the proxy something.
_TELLING = ("close", "send", "subscribe", "unsubscribe")
_Place = tuple[int, Kind, tuple[str, ...]]


class _View:
    """The source of one view."""

    def __init__(self, definition: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._body = definition.body
        nodes = list(_nodes(definition.body))
        #: Names of the socket, of its state, and of iterators over it.
        self._aliases: set[str] = set()
        self._states: set[str] = set()
        self._aliases = _names_for(nodes, self._is_socket)
        self._states = _names_for(nodes, self._is_state)
        self._iterators = _names_for(nodes, self._is_enumeration)
        self._not_local = {
            name for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names
        }
        self._nodes = nodes

    def places(self) -> list[_Place]:
        found: list[_Place] = []
        for loop in self._nodes:
            if isinstance(loop, _Loop) and self._brings_messages(loop):
                names = self._carried(loop)
                if names:
                    found.append((loop.lineno, "carried", tuple(sorted(names))))
                found += [(line, "resets", (key,)) for line, key in self._resets(loop)]
            elif isinstance(loop, ast.While) and self._polls(loop):
                found.append((loop.lineno, "polls", ()))
        found += [(line, "waits", ()) for line in self._second_waits(self._body)]
        found += [place for node in self._nodes for place in self._lost_at_suspension(node)]
        return sorted(set(found))

    # What is what

    def _is_socket(self, node: ast.AST) -> bool:
        return _is_attribute(node) or (isinstance(node, ast.Name) and node.id in self._aliases)

    def _calls(self, nodes: Iterable[ast.AST], *methods: str) -> list[ast.Call]:
        return [
            node
            for node in nodes
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in methods
            and self._is_socket(node.func.value)
        ]

    def _is_state(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._states
        return isinstance(node, ast.Attribute) and node.attr == "state" and self._is_socket(node.value)

    def _waits(self, nodes: Iterable[ast.AST]) -> list[ast.Call]:
        """The calls that take a message, or wait for one."""
        found = list(nodes)
        steps = [node for node in found if isinstance(node, ast.Call) and self._is_step(node)]
        return [*self._calls(found, "wait"), *steps]

    def _is_step(self, node: ast.Call) -> bool:
        return (
            isinstance(node.func, ast.Name)
            and node.func.id in {"next", "anext"}
            and bool(node.args)
            and (self._is_enumeration(node.args[0]) or getattr(node.args[0], "id", None) in self._iterators)
        )

    def _may_wait(self, body: Iterable[ast.stmt]) -> bool:
        nodes = list(_nodes(body))
        return bool(self._waits(nodes)) or any(map(self._iterates, nodes))

    # What happens whenever the view is left

    def _lost_at_suspension(self, node: ast.AST) -> Iterator[_Place]:
        if isinstance(node, (ast.With, ast.AsyncWith)) and self._may_wait(node.body):
            for item in node.items:
                if _called(item.context_expr) == "atomic":
                    yield node.lineno, "atomic", ()
                if _called(item.context_expr) in {"closing", "aclosing"} and self._gets_socket(item.context_expr):
                    yield node.lineno, "cleans", ()
        elif isinstance(node, ast.Try) and self._may_wait(node.body):
            yield from ((call.lineno, "cleans", ()) for call in self._calls(_nodes(node.finalbody), *_TELLING))
            for handler in filter(_catches_everything, node.handlers):
                yield from ((call.lineno, "cleans", ()) for call in self._calls(_nodes(handler.body), *_TELLING))
                if not any(isinstance(inner, ast.Raise) for inner in _nodes(handler.body)):
                    yield handler.lineno, "swallows", ()

    def _gets_socket(self, call: ast.expr) -> bool:
        return isinstance(call, ast.Call) and any(map(self._is_socket, call.args))

    # The state

    def _resets(self, loop: ast.For | ast.AsyncFor | ast.While) -> Iterator[tuple[int, str]]:
        """The lines before a loop that surely set a key of the state which the loop sets, too."""
        changed = {key for node in _nodes(loop.body) if (key := self._key(node))}
        sometimes = {inner for node in self._nodes if isinstance(node, ast.If) for inner in _nodes([node])}
        for node in self._nodes:
            if not isinstance(node, ast.Assign) or node.lineno >= loop.lineno or node in sometimes:
                continue
            if isinstance(node.value, ast.Constant) or _is_fresh(node.value):
                yield from (
                    (node.lineno, key) for target in node.targets if (key := self._key(target)) in changed and key
                )

    def _key(self, node: ast.AST) -> str | None:
        """The constant key of the state that an expression binds."""
        if not isinstance(node, ast.Subscript) or isinstance(node.ctx, ast.Load) or not self._is_state(node.value):
            return None
        return repr(node.slice.value) if isinstance(node.slice, ast.Constant) else None

    def _iterates(self, loop: ast.AST) -> bool:
        """Whether it is a `for` over the socket, or over the numbered messages of it."""
        if not isinstance(loop, (ast.For, ast.AsyncFor)):
            return False
        if isinstance(loop.iter, ast.Name) and loop.iter.id in self._iterators:
            return True
        return self._is_socket(loop.iter) or self._is_enumeration(loop.iter)

    def _is_enumeration(self, node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"enumerate", "iter", "zip"}
            and any(map(self._is_socket, node.args))
        )

    def _brings_messages(self, loop: ast.For | ast.AsyncFor | ast.While) -> bool:
        if isinstance(loop, ast.While):
            return bool(self._waits(_nodes([loop.test, *loop.body])))
        return self._iterates(loop)

    def _polls(self, loop: ast.While) -> bool:
        body = list(_nodes(loop.body))
        asks = list(_nodes([loop.test]))
        drains = self._calls(asks, "has_messages", "count_messages", "read")
        leaves = any(isinstance(node, (ast.Break, ast.Return)) for node in body)
        if isinstance(loop.test, ast.UnaryOp) and self._calls([loop.test.operand], "has_messages"):
            return True
        if any(isinstance(node, ast.If) and self._is_found(node) for node in body):
            return not drains
        return bool(self._calls(body, "read")) and not drains and not leaves

    def _is_found(self, node: ast.If) -> bool:
        """Whether a loop is left as soon as there is a message."""
        return bool(self._calls([node.test], "has_messages")) and isinstance(node.body[-1], ast.Break)

    # Local variables

    def _carried(self, loop: ast.For | ast.AsyncFor | ast.While) -> set[str]:
        """The names that a turn of the loop finds as an earlier one, or the time before the loop, has left them."""
        flow = _Flow()
        if isinstance(loop, ast.While):
            flow.block(loop.body, flow.evaluate(loop.test, frozenset()))
        else:
            flow.block(loop.body, frozenset(_stored([loop.target])))
        inside, before = set(_stored(loop.body)), self._bound_before(loop)
        carried = flow.exposed & (inside | (self._mutated(loop) & self._containers_before(loop)))
        after = {
            node.id
            for node in self._nodes
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.lineno > (loop.end_lineno or 0)
        }
        carried |= inside & before & after
        if isinstance(loop, (ast.For, ast.AsyncFor)) and self._is_enumeration(loop.iter):
            carried |= self._numbers(loop)
        return carried - self._not_local - self._aliases

    def _numbers(self, loop: ast.For | ast.AsyncFor) -> set[str]:
        """The names beside the message in `for number, message in enumerate(…)`, which starts anew."""
        if not isinstance(loop.target, ast.Tuple) or not isinstance(loop.iter, ast.Call):
            return set()
        if not isinstance(loop.iter.func, ast.Name) or loop.iter.func.id == "iter":
            return set()
        others = loop.target.elts[:1]
        if loop.iter.func.id == "zip":
            pairs = zip(loop.target.elts, loop.iter.args, strict=False)
            others = [target for target, source in pairs if not self._is_socket(source)]
        return set(_stored(others)) & {node.id for node in _nodes(loop.body) if isinstance(node, ast.Name)}

    def _bound_before(self, loop: ast.stmt) -> set[str]:
        return set(_stored(node for node in self._nodes if getattr(node, "lineno", loop.lineno) < loop.lineno))

    def _containers_before(self, loop: ast.stmt) -> set[str]:
        return {
            name
            for node in self._nodes
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.lineno < loop.lineno and _is_fresh(node.value)
            for name in _stored(node.targets if isinstance(node, ast.Assign) else [node.target])
        }

    def _mutated(self, loop: ast.For | ast.AsyncFor | ast.While) -> set[str]:
        names: set[str] = set()
        for node in _nodes(loop.body):
            place: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
                place = node.func.value
            elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                place = node
            while isinstance(place, ast.Subscript):
                place = place.value
            if isinstance(place, ast.Name):
                names.add(place.id)
        return names

    # Waiting again

    def _second_waits(self, body: list[ast.stmt]) -> Iterator[int]:
        """The lines that wait in a run of statements where an earlier one has."""
        has_waited = False
        for statement in body:
            waits = self._waits(_nodes([statement]))
            lines = sorted({wait.lineno for wait in waits} or self._loop_lines(statement))
            if lines and has_waited:
                yield lines[0]
                return
            inner = [line for block in _blocks(statement) for line in self._second_waits(block)]
            if not inner and not list(_blocks(statement)) and len(waits) > 1:
                inner = [waits[1].lineno]
            yield from inner
            has_waited = has_waited or self._goes_on_after_waiting(statement)

    def _loop_lines(self, statement: ast.stmt) -> set[int]:
        return {node.lineno for node in _nodes([statement]) if isinstance(node, _Loop) and self._iterates(node)}

    def _goes_on_after_waiting(self, statement: ast.stmt) -> bool:
        if isinstance(statement, (ast.Return, ast.Raise)):
            return False
        if isinstance(statement, ast.If):
            if self._waits(_nodes([statement.test])):
                return True
            return any(map(self._falls_through, (statement.body, statement.orelse)))
        if isinstance(statement, _Loop):
            # It ends when the client has gone, unless it is broken off.
            return self._brings_messages(statement) and any(isinstance(n, ast.Break) for n in _nodes(statement.body))
        return bool(self._waits(_nodes([statement])))

    def _falls_through(self, block: list[ast.stmt]) -> bool:
        ends = bool(block) and isinstance(block[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))
        return not ends and any(map(self._goes_on_after_waiting, block))


class _Flow:
    """Follows one turn: which names it reads before it has surely bound them.

    Lenient where the outcome depends on data: the body of an inner loop counts as run.
    """

    def __init__(self) -> None:
        self.exposed: set[str] = set()

    def block(self, body: Iterable[ast.stmt], bound: frozenset[str]) -> frozenset[str] | None:
        """The names that are bound at the end; None if it is never reached."""
        for statement in body:
            outcome = self._statement(statement, bound)
            if outcome is None:
                return None
            bound = outcome
        return bound

    def evaluate(self, expression: ast.AST | None, bound: frozenset[str]) -> frozenset[str]:
        """Read an expression; the names that are bound after it."""
        if expression is None:
            return bound
        after = bound | set(_stored([expression]))
        for node in _nodes([expression]):
            if isinstance(node, ast.NamedExpr):
                self.exposed |= _read(node.value) - bound
        self.exposed |= _read(expression) - after
        return after

    def _statement(self, statement: ast.stmt, bound: frozenset[str]) -> frozenset[str] | None:
        step = _STEPS.get(type(statement))
        if step is not None:
            return step(self, statement, bound)
        # Any other: it reads what it reads, and then binds.
        self.exposed |= _read(statement) - bound
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            self.exposed |= {statement.target.id} - bound
        return bound | set(_stored([statement]))

    def _if(self, node: ast.If, bound: frozenset[str]) -> frozenset[str] | None:
        bound = self.evaluate(node.test, bound)
        return _join(self.block(node.body, bound), self.block(node.orelse, bound))

    def _for(self, node: ast.For | ast.AsyncFor, bound: frozenset[str]) -> frozenset[str] | None:
        bound = self.evaluate(node.iter, bound) | set(_stored([node.target]))
        return self.block(node.orelse, self.block(node.body, bound) or bound)

    def _while(self, node: ast.While, bound: frozenset[str]) -> frozenset[str] | None:
        bound = self.evaluate(node.test, bound)
        return self.block(node.orelse, self.block(node.body, bound) or bound)

    def _try(self, node: ast.Try, bound: frozenset[str]) -> frozenset[str] | None:
        after = self.block([*node.body, *node.orelse], bound)
        for handler in node.handlers:
            caught = frozenset({handler.name} if handler.name else ())
            after = _join(after, self.block(handler.body, bound | caught))
        final = self.block(node.finalbody, bound if after is None else after)
        return None if after is None else final

    def _with(self, node: ast.With | ast.AsyncWith, bound: frozenset[str]) -> frozenset[str] | None:
        for item in node.items:
            bound = self.evaluate(item.context_expr, bound)
            bound |= set(_stored([item.optional_vars])) if item.optional_vars else set()
        return self.block(node.body, bound)

    def _match(self, node: ast.Match, bound: frozenset[str]) -> frozenset[str] | None:
        bound = self.evaluate(node.subject, bound)
        after: frozenset[str] | None = bound
        for case in node.cases:
            inner = self.evaluate(case.guard, bound | set(_stored([case.pattern])))
            wildcard = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and not case.guard
            outcome = self.block(case.body, inner)
            after = outcome if wildcard and after == bound else _join(after, outcome)
        return after

    def _leave(self, node: ast.stmt, bound: frozenset[str]) -> None:
        self.evaluate(node, bound)


_STEPS: dict[type[ast.stmt], Callable[[_Flow, Any, frozenset[str]], frozenset[str] | None]] = {
    ast.If: _Flow._if,
    ast.For: _Flow._for,
    ast.AsyncFor: _Flow._for,
    ast.While: _Flow._while,
    # `try … except*` came with Python 3.11.
    **dict.fromkeys((ast.Try, getattr(ast, "TryStar", ast.Try)), _Flow._try),
    ast.With: _Flow._with,
    ast.AsyncWith: _Flow._with,
    ast.Match: _Flow._match,
    ast.Return: _Flow._leave,
    ast.Raise: _Flow._leave,
    ast.Continue: _Flow._leave,
    ast.Break: _Flow._leave,
}


def _join(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _is_attribute(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "websocket"


def _names_for(nodes: Iterable[ast.AST], is_meant: Callable[[ast.AST], bool]) -> set[str]:
    """The names that are given to what an expression stands for."""
    return {
        target.id
        for node in nodes
        if isinstance(node, (ast.Assign, ast.NamedExpr)) and is_meant(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


def _called(node: ast.expr) -> str:
    """The last part of the name of what is called."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, "id", "") == "BaseException" for kind in caught)


def _is_fresh(node: ast.AST | None) -> bool:
    """Whether an expression makes a new container."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in _CONTAINERS
    return isinstance(node, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp))


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(statement, name, None)
        if isinstance(block, list) and block and not isinstance(statement, _Scope):
            yield block
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body


def _nodes(roots: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes in or below the roots that run with them, in the order of the text: no inner functions."""
    for root in roots:
        yield root
        if not isinstance(root, _Scope):
            yield from _nodes(ast.iter_child_nodes(root))


def _stored(roots: Iterable[ast.AST]) -> Iterator[str]:
    """The names that are bound in or below the roots, those of comprehensions left out."""
    for root in roots:
        name = _binding(root)
        if name:
            yield name
        if isinstance(root, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in root.names)
        if isinstance(root, _Comprehension):
            yield from (node.target.id for node in ast.walk(root) if isinstance(node, ast.NamedExpr))
        elif not isinstance(root, _Scope):
            yield from _stored(ast.iter_child_nodes(root))


def _binding(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return None if isinstance(node.ctx, ast.Load) else node.id
    if isinstance(node, (ast.MatchAs, ast.MatchStar, ast.ExceptHandler)):
        return node.name
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name
    return None


def _read(node: ast.AST) -> set[str]:
    """The names that are read in or below a node, those of its own scopes left out."""
    names = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) else set[str]()
    for child in ast.iter_child_nodes(node):
        names |= _read(child)
    if isinstance(node, _Comprehension):
        names -= {name for part in node.generators for name in _stored([part.target])}
    elif isinstance(node, _Scope):
        own = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
        names -= own | set(_stored(ast.iter_child_nodes(node)))
    return names
