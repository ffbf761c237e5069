"""Finds in source what `compatibility` lists: in the modules of routed consumers, or in any file.

Nothing is imported or executed. What cannot be decided is not reported. A line that ends with `# grip: ignore` is left
alone, or with `# grip: ignore[W021]` by that rule.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from grip_consumers import scan_calls, scan_values
from grip_consumers.compatibility import RULES, Rule
from grip_consumers.syntax import Class, Source, class_values, is_self, name_chain, shown, stored_names, within

__all__ = ["Finding", "scan"]


@dataclass(frozen=True)
class Finding:
    """One place that does not do behind a proxy what it does on Channels.

    rule    what it breaks
    file    as it was given
    line    from 1
    where   the class and method: "ChatConsumer.connect"
    detail  what is done there, to be read behind `where`: "starts a task …"
    """

    rule: Rule
    file: str
    line: int
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.where} {self.detail}. {self.rule.advice}"


def scan(
    source: str,
    file: str,
    *,
    classes: Collection[str] | None = None,
    lines: Collection[int] | Mapping[int, int] = (),
    subscription_limit: int = 20,
) -> list[Finding]:
    """What is to be found in a module's source, by line.

    Args:
        source: the text of the module.
        file: its name, for the findings.
        classes: qualified names of the classes that are consumers of WebSockets; None: those that look like it, by
            the names of their bases and methods, and all ASGI applications.
        lines: where functions begin that stand around such consumers; to the line that runs, if that is known: other
            branches may be for HTTP.
        subscription_limit: the proxy's, for each connection (GRIP_SUBSCRIPTION_LIMIT).

    Raises:
        SyntaxError: it cannot be parsed.
    """
    tree = Source(source, file)
    chosen = (
        cls for name, cls in tree.classes.items() if (_is_consumer(tree, cls) if classes is None else name in classes)
    )
    found = dict.fromkeys(finding for cls in chosen for finding in _Look(tree, cls, subscription_limit).findings())
    found |= dict.fromkeys(_in_calls(tree, classes, lines))
    text = source.splitlines()
    return sorted(
        (finding for finding in found if not _is_ignored(text[finding.line - 1], finding.rule)),
        key=lambda finding: (finding.line, finding.rule.id),
    )


def _in_calls(
    source: Source, classes: Collection[str] | None, lines: Collection[int] | Mapping[int, int]
) -> Iterator[Finding]:
    for function, where in scan_calls.applications(source):
        owner, _, name = where.rpartition(".")
        first = scan_calls.first_line(function)
        if classes is None or (name == "__call__" and owner in classes) or first in lines:
            running = lines.get(first) if isinstance(lines, Mapping) else None
            for node, detail in scan_calls.lasting(source, function, running):
                yield Finding(RULES["lasting-call"], source.file, node.lineno, where, detail)  # type: ignore[attr-defined]


_IGNORED = re.compile(r"#\s*grip:\s*ignore(?:\[([\w,\s-]*)\])?\s*$")


def _is_ignored(line: str, rule: Rule) -> bool:
    if (found := _IGNORED.search(line)) is None:
        return False
    return found[1] is None or bool({rule.id, rule.name} & set(re.split(r"[,\s]+", found[1])))


# Which classes -------------------------------------------------------------------------------------------------------

#: Bases of consumers that serve no WebSocket, unless they have methods for one.
_PLAIN_BASES = frozenset({"AsyncConsumer", "SyncConsumer"})
_HTTP_BASES = frozenset({"AsyncHttpConsumer", "HttpConsumer"})
_SIGNS = frozenset({"channel_layer", "channel_name"})


def _is_consumer(source: Source, cls: Class, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a class looks like a consumer of WebSockets, or a part of one."""
    if any(name.startswith("websocket_") for name in cls.methods):
        return True
    bases = [name_chain(base).rpartition(".")[2] for base in cls.node.bases]
    if _HTTP_BASES.intersection(bases):
        return False
    for base in bases:
        known = source.classes.get(base)
        if known is not None and base not in seen and _is_consumer(source, known, seen | {base}):
            return True
        if known is None and base.endswith("Consumer") and base not in _PLAIN_BASES:
            return True
    return not bases and any(
        isinstance(node, ast.Attribute) and node.attr in _SIGNS and is_self(node.value)
        for method in cls.methods.values()
        for node in ast.walk(method)
    )


# What they do --------------------------------------------------------------------------------------------------------

_Place = tuple[str, ast.AST, str]


class _Look:
    """At one class."""

    def __init__(self, source: Source, cls: Class, subscription_limit: int) -> None:
        self.source = source
        self.cls = cls
        self.limit = subscription_limit

    def findings(self) -> Iterator[Finding]:
        for look in _LOOKS:
            for name, node, detail in look(self):
                yield Finding(RULES[name], self.source.file, node.lineno, self._where(node), detail)  # type: ignore[attr-defined]

    def _where(self, node: ast.AST) -> str:
        around = (node, *self.source.above(node))
        method = next((name for name, function in self.cls.methods.items() if function in around), "")
        if method:
            return f"{self.cls.name}.{method}"
        outer = next((above.name for above in around if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef))), "")
        return outer if outer and self.cls.node not in around else self.cls.name

    def _nodes(self) -> Iterator[ast.AST]:
        for method in self.cls.methods.values():
            for statement in (*method.body, *method.args.defaults):
                yield from ast.walk(statement)

    def _calls(self) -> Iterator[tuple[ast.Call, str]]:
        """The calls in its methods, with what each calls: "asyncio.sleep", "self.accept", ".call_later"."""
        for node in self._nodes():
            if isinstance(node, ast.Call):
                name = self.source.dotted(node.func)
                yield node, name or (f".{node.func.attr}" if isinstance(node.func, ast.Attribute) else "")

    # Tasks and timers

    def left_running(self) -> Iterator[_Place]:
        for call, name in self._calls():
            last = name.rpartition(".")[2]
            if name in _TIMERS or (last in _TIMER_METHODS and "." in name):
                yield "timer", call, f"sets a timer: {shown(call)}"
            elif self._starts(call, name) and not self._is_awaited(call):
                yield "background-task", call, f"starts what it does not wait for: {shown(call)}"

    def _starts(self, call: ast.Call, name: str) -> bool:
        by_method = name.rpartition(".")[2] in _START_METHODS and "." in name
        return name in _STARTS or (by_method and not self._in_group(call))

    def _in_group(self, call: ast.Call) -> bool:
        """Whether the task belongs to what an `async with` waits for."""
        owner = name_chain(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        groups = (
            item.optional_vars
            for above in self.source.above(call)
            if isinstance(above, ast.AsyncWith)
            for item in above.items
        )
        return bool(owner) and any(group is not None and name_chain(group) == owner for group in groups)

    def _is_awaited(self, call: ast.Call) -> bool:
        """Whether the function that starts a task waits for it, or gives it to its caller."""
        for above in self.source.above(call):
            if isinstance(above, (ast.Await, ast.Return)):
                return True
            if isinstance(above, (ast.stmt, ast.comprehension)):
                break
        names = self._given_names(call)
        awaited = (
            node for node in ast.walk(self.source.function_of(call)) if isinstance(node, ast.Await) or _joins(node)
        )
        return any(isinstance(node, ast.Name) and node.id in names for wait in awaited for node in ast.walk(wait))

    def _given_names(self, call: ast.Call) -> set[str]:
        """The local names of a task, or of the list that it is put into."""
        statement = next(above for above in self.source.above(call) if isinstance(above, ast.stmt))
        names = stored_names(statement) if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr)) else set()
        for above in self.source.above(call):
            if isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute) and above.func.attr in _COLLECTS:
                names |= {name_chain(above.func.value)}
            if above is statement:
                break
        return names

    # Loops

    def loops(self) -> Iterator[_Place]:
        for node in self._nodes():
            if not isinstance(node, (ast.While, ast.For, ast.AsyncFor)) or self._is_inner(node):
                continue
            sleep = next(self._sleeps(node), None)
            if sleep is not None:
                yield "sleeping-loop", node, f"waits in a loop: {shown(sleep)}"
            elif isinstance(node, ast.While) and _is_endless(node):
                yield "sleeping-loop", node, "runs in a loop without an end"

    def _is_inner(self, loop: ast.AST) -> bool:
        """Whether there is a loop around it, in the same function: one finding will do."""
        for above in self.source.above(loop):
            if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                return False
            if isinstance(above, (ast.While, ast.For, ast.AsyncFor)) and (
                next(self._sleeps(above), None) is not None or (isinstance(above, ast.While) and _is_endless(above))
            ):
                return True
        return False

    def _sleeps(self, loop: ast.AST) -> Iterator[ast.Call]:
        tries_again = isinstance(loop, ast.For) and self.source.dotted(loop.iter) == "range"
        for node in within(loop):
            if not isinstance(node, ast.Call) or self.source.dotted(node.func) not in _SLEEPS:
                continue
            given = node.args[0] if node.args else None
            if isinstance(given, ast.Constant) and not given.value:
                continue
            if not (tries_again and any(isinstance(above, ast.ExceptHandler) for above in self.source.above(node))):
                yield node

    # The channel layer

    def receives(self) -> Iterator[_Place]:
        for call, name in self._calls():
            if name.endswith((".channel_layer.receive", "get_channel_layer.receive")):
                yield "layer-receive", call, f"receives from the channel layer: {shown(call)}"
        for node in self._nodes():
            if isinstance(node, ast.Attribute) and node.attr == "channel_receive" and is_self(node.value):
                yield "layer-receive", node, "uses self.channel_receive"

    def groups(self) -> Iterator[_Place]:
        most = self.limit - 1
        value = class_values(self.cls.node).get("groups")
        if isinstance(value, (ast.List, ast.Tuple, ast.Set)) and len(value.elts) > most:
            yield "too-many-groups", value, f"joins {len(value.elts)} groups; its proxy serves it {most}"
        for call, name in self._calls():
            if not name.endswith(".group_add") or not any(name_chain(arg) == "self.channel_name" for arg in call.args):
                continue
            loop = next(
                (above for above in self.source.above(call) if isinstance(above, (ast.For, ast.AsyncFor))), None
            )
            if loop is not None and call in within(loop):
                count = _length(loop.iter)
                if count is None or count > most:
                    yield (
                        "too-many-groups",
                        call,
                        f"joins a group for each of {shown(loop.iter)}; its proxy serves it {most}",
                    )

    # The handshake

    def accepts(self) -> Iterator[_Place]:
        if not _DECIDES & self.cls.methods.keys():
            return
        in_time = self._reached_from(name for name in self.cls.methods if name in _DECIDES)
        late = self._reached_from(name for name, method in self.cls.methods.items() if _is_later(name, method))
        for name in late - in_time:
            for node in ast.walk(self.cls.methods[name]):
                if isinstance(node, ast.Call) and name_chain(node.func) == "self.accept":
                    yield "late-accept", node, "accepts after connect() has returned"

    def _reached_from(self, start: Iterator[str]) -> set[str]:
        """The methods that some methods call, and these themselves; not what they hand on to be called later."""
        reached, waiting = set[str](), list(start)
        while waiting:
            name = waiting.pop()
            if name in reached:
                continue
            reached.add(name)
            for node in ast.walk(self.cls.methods[name]):
                own = isinstance(node, ast.Attribute) and is_self(node.value) and node.attr in self.cls.methods
                if own and not self._is_handed_on(node):
                    waiting.append(node.attr)  # type: ignore[attr-defined]
        return reached

    def _is_handed_on(self, node: ast.AST) -> bool:
        for above in self.source.above(node):
            if isinstance(above, ast.stmt):
                return False
            if isinstance(above, ast.Call):
                last = name_chain(above.func).rpartition(".")[2]
                if last in _START_METHODS | _TIMER_METHODS or self.source.dotted(above.func) in _STARTS | _TIMERS:
                    return not self._is_awaited(above)
        return False

    # Values

    def state(self) -> Iterator[_Place]:
        for node, attribute, what in scan_values.unkeepable(self.source, self.cls):
            yield "unkeepable-state", node, f"keeps {what} in self.{attribute}"

    def shared(self) -> Iterator[_Place]:
        for node, name, owner in scan_values.process_state(self.source, self.cls):
            yield "process-state", node, f"fills {name}, which belongs to its {owner}"
        for node, name, place in scan_values.kept_by_objects(self.source, self.cls):
            yield "process-state", node, f"uses {name}, an object of its module that fills {place}"

    def definition(self) -> Iterator[_Place]:
        function = self.cls.function
        if function is None or "<locals>" not in self.cls.name:
            return
        returned = (node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value)
        name = self.cls.node.name
        if any(name_chain(value) in {name, f"{name}.as_asgi"} for value in returned):
            yield "local-class", self.cls.node, f"is defined within the function {function.name}()"


_LOOKS: tuple[Callable[[_Look], Iterator[_Place]], ...] = (
    *(_Look.left_running, _Look.loops, _Look.receives, _Look.groups, _Look.accepts),
    *(_Look.state, _Look.shared, _Look.definition),
)

_STARTS = frozenset(
    {
        *("asyncio.create_task", "asyncio.ensure_future", "asyncio.run_coroutine_threadsafe"),
        *("threading.Thread", "multiprocessing.Process", "_thread.start_new_thread"),
    }
)
_START_METHODS = frozenset({"create_task", "ensure_future"})
_TIMERS = frozenset({"threading.Timer"})
_TIMER_METHODS = frozenset({"call_at", "call_later"})
_SLEEPS = frozenset(f"{module}.sleep" for module in ("anyio", "asyncio", "eventlet", "gevent", "time", "trio"))
_COLLECTS = frozenset({"add", "append"})
_DECIDES = frozenset({"connect", "websocket_connect"})
_LATER = frozenset({"disconnect", "receive", "receive_json", "websocket_disconnect", "websocket_receive"})


def _is_later(name: str, method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a method handles what comes after the handshake: frames, the end, or events."""
    arguments = [argument.arg for argument in (*method.args.posonlyargs, *method.args.args)]
    return name in _LATER or (
        not name.startswith("_") and arguments in (["self", "event"], ["self", "message"]) and name not in _DECIDES
    )


def _is_endless(loop: ast.While) -> bool:
    always = isinstance(loop.test, ast.Constant) and bool(loop.test.value)
    return always and not any(isinstance(node, (ast.Break, ast.Return, ast.Raise)) for node in within(loop))


def _joins(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join"


def _length(node: ast.expr) -> int | None:
    """How many items a loop goes through, where it can be seen."""
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return len(node.elts)
    if isinstance(node, ast.Call) and name_chain(node.func) == "range" and len(node.args) == 1:
        value = node.args[0]
        return value.value if isinstance(value, ast.Constant) and isinstance(value.value, int) else None
    return None
