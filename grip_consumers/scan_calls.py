"""The part of `scan` that looks at ASGI applications: `__call__` of consumers, and middleware around them.

On Channels these run as long as the connection. Here they return with the first batch, or run anew for each.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from grip_consumers.scan_values import changed, local_names
from grip_consumers.syntax import Function, Source, is_container, name_chain, root_of, shown, within

__all__ = ["applications", "first_line", "lasting"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_Place = tuple[ast.AST, str]


def applications(source: Source) -> Iterator[tuple[Function, str]]:
    """The functions that can be called as ASGI applications, with their qualified names.

    Not those that name types of messages, and none of a WebSocket: they are about HTTP.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, _FUNCTIONS) and _is_application(source, node) and not _is_about_http(node):
            around = [above.name for above in source.above(node) if isinstance(above, (*_FUNCTIONS, ast.ClassDef))]
            yield node, ".".join([*reversed(around), node.name])


def first_line(function: Function) -> int:
    """The line that its code object has for it: that of its first decorator, if there is one."""
    return min(node.lineno for node in (function, *function.decorator_list))


def lasting(source: Source, function: Function, running: int | None = None) -> Iterator[_Place]:
    """Where an ASGI application counts on running as long as the connection: the node, and what is done there.

    `running` is the line of its call of the inner application, if that is known.
    """
    calls = [node for node in within(function) if isinstance(node, ast.Call) and _calls_inner(source, function, node)]
    if running is not None:
        calls = [call for call in calls if call.lineno <= running <= (call.end_lineno or call.lineno)]
    yield from _kept_in_variables(function, calls)
    for call in calls:
        yield from _around(source, function, call)
        yield from _behind(source, function, call, calls)


# Which functions -----------------------------------------------------------------------------------------------------


def _parameters(function: Function) -> list[str]:
    return [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]


def _class_of(source: Source, function: Function) -> ast.ClassDef | None:
    """The class that a function is a method of."""
    parent = next(source.above(function))
    return parent if isinstance(parent, ast.ClassDef) else None


def _is_application(source: Source, function: Function) -> bool:
    names = _parameters(function)[0 if _class_of(source, function) is None else 1 :]
    if isinstance(function, ast.AsyncFunctionDef) and function.name == "__call__":
        return len(names) == 3 or function.args.vararg is not None
    return len(names) == 3 and "receive" in names[1] and "send" in names[2]


def _is_about_http(function: Function) -> bool:
    values = (node.value for node in ast.walk(function) if isinstance(node, ast.Constant))
    kinds = {value.partition(".")[0] for value in values if isinstance(value, str)}
    return "http" in kinds and "websocket" not in kinds


def _calls_inner(source: Source, function: Function, call: ast.Call) -> bool:
    """Whether a call runs the application that this one stands around."""
    name = name_chain(call.func)
    if not any(isinstance(argument, ast.Starred) for argument in call.args) and len(call.args) < 3:
        return False
    if name.endswith((".__call__", ".as_asgi")):
        return True
    cls = _class_of(source, function)
    if cls is not None:
        own, _, attribute = name.partition(".")
        return own == _parameters(function)[0] and attribute in _INNER | _given(cls)
    # What a function that makes an application was given.
    outer = (above for above in source.above(function) if isinstance(above, _FUNCTIONS))
    return any(name in _parameters(above) for above in outer)


_INNER = frozenset({"app", "application", "inner"})


def _given(cls: ast.ClassDef) -> set[str]:
    """The attributes of a class that are what its __init__ was given."""
    methods = (node for node in cls.body if isinstance(node, _FUNCTIONS) and node.name == "__init__")
    parameters = {method: _parameters(method) for method in methods}
    return {
        target.attr
        for method, names in parameters.items()
        for node in ast.walk(method)
        if isinstance(node, ast.Assign) and name_chain(node.value) in names[1:]
        for target in node.targets
        if isinstance(target, ast.Attribute) and name_chain(target.value) == names[0]
    }


# Variables of a call -------------------------------------------------------------------------------------------------


def _kept_in_variables(function: Function, calls: list[ast.Call]) -> Iterator[_Place]:
    """Where functions that stand in for receive or send change variables of the application, once for each."""
    inner = [
        node for node in ast.walk(function) if isinstance(node, (*_FUNCTIONS, ast.Lambda)) and node is not function
    ]
    named = {node.id for call in calls for node in ast.walk(call) if isinstance(node, ast.Name)}
    handed_on = {node for call in calls for node in ast.walk(call) if isinstance(node, ast.Lambda)}
    if not any(node in handed_on or (isinstance(node, _FUNCTIONS) and node.name in named) for node in inner):
        return
    made = _made_in(function)
    found: dict[str, _Place] = {}
    for node in inner:
        for place, name in _changes(node, made):
            found.setdefault(name, (place, f"counts on a variable to last as long as the connection: {name}"))
    yield from found.values()


def _made_in(function: Function) -> dict[str, bool]:
    """The variables of a function, but for its parameters, and whether each holds an object made in it."""
    found: dict[str, bool] = {}
    for node in within(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, False)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and (is_container(node.value) or _is_made(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: True for target in targets if isinstance(target, ast.Name)}
    return found


def _is_made(value: ast.AST | None) -> bool:
    """Whether an expression makes an object of a class, by its name: `Counter()`, `types.SimpleNamespace(n=0)`."""
    return isinstance(value, ast.Call) and name_chain(value.func).rpartition(".")[2][:1].isupper()


def _changes(
    inner: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, made: dict[str, bool]
) -> Iterator[tuple[ast.AST, str]]:
    nonlocals = {name for node in ast.walk(inner) if isinstance(node, ast.Nonlocal) for name in node.names}
    own = local_names(inner) - nonlocals
    for node in ast.walk(inner):
        for target, rebinds in changed(node):
            root = root_of(target)
            if isinstance(root, ast.Name):
                lasts = root.id in nonlocals and root.id in made if rebinds else made.get(root.id, False)
            else:
                root = root.value if isinstance(root, ast.Attribute) else root
                lasts = isinstance(root, ast.Name) and made.get(root.id, False)
            if lasts and isinstance(root, ast.Name) and root.id not in own:
                yield node, root.id


# Around and behind a call --------------------------------------------------------------------------------------------


def _around(source: Source, function: Function, call: ast.Call) -> Iterator[_Place]:
    child: ast.AST = call
    for above in source.above(call):
        if above is function:
            return
        if isinstance(above, ast.Try) and child in above.body:
            yield from _of_try(above)
        elif isinstance(above, (ast.With, ast.AsyncWith)):
            for item in above.items:
                if not _lets_through(item.context_expr):
                    yield above, f"keeps open around the inner application: {shown(item.context_expr)}"
        elif isinstance(above, ast.Call) and source.dotted(above.func) == "asyncio.wait_for":
            yield above, f"sets the inner application a time: {shown(above)}"
        child = above


def _of_try(node: ast.Try) -> Iterator[_Place]:
    cleans = next((statement for statement in node.finalbody if _acts(statement)), None)
    if cleans is not None:
        yield cleans, f"does in `finally`, around the inner application: {shown(cleans)}"
    for handler in node.handlers:
        if _catches_all(handler.type) and any(_acts(it) for it in handler.body if not isinstance(it, ast.Raise)):
            caught = shown(handler.type) if handler.type is not None else "everything"
            yield handler, f"catches what the inner application raises: {caught}"


def _catches_all(kind: ast.expr | None) -> bool:
    """Whether it is for whatever goes wrong: what is named may be what happens at connect, such as a missing route."""
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(it is None or name_chain(it).rpartition(".")[2] in _BROAD for it in kinds)


_BROAD = frozenset({"BaseException", "CancelledError", "Exception"})


def _lets_through(context: ast.expr) -> bool:
    """Whether it is contextlib.suppress() of something that is named."""
    named = isinstance(context, ast.Call) and name_chain(context.func).rpartition(".")[2] == "suppress"
    return named and not any(_catches_all(kind) for kind in context.args)  # type: ignore[attr-defined]


def _behind(source: Source, function: Function, call: ast.Call, calls: list[ast.Call]) -> Iterator[_Place]:
    """The first thing that is done behind a call; not what is done instead of it, by another one."""
    for statement in _following(source, function, call):
        if _acts(statement) and not any(node in calls for node in ast.walk(statement)):
            yield statement, f"does when the inner application has returned: {shown(statement)}"
            return


def _following(source: Source, function: Function, node: ast.AST) -> Iterator[ast.stmt]:
    """The statements that the function comes to behind that of a node, as far as that is certain."""
    child = node
    for above in source.above(node):
        if isinstance(child, _ENDS):
            return
        for name in ("body", "orelse", "finalbody"):
            block = getattr(above, name, None)
            if not isinstance(block, list) or child not in block:
                continue
            for statement in block[block.index(child) + 1 :]:
                yield statement
                if isinstance(statement, _ENDS):
                    return
            if isinstance(above, ast.Try) and name == "body":
                yield from above.orelse
        if above is function:
            return
        child = above


_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue)


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement does more than to work out a value from what is there."""
    return any(
        isinstance(node, (ast.Call, ast.Await, ast.Delete))
        or (isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store))
        for node in ast.walk(statement)
    )
