"""The part of `scan` that looks at values: what instances are given to keep, and what is shared by a process."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from grip_consumers.syntax import MUTATORS, Class, Source, class_values, is_container, is_self, name_chain, root_of

__all__ = ["changed", "keeps", "kept_by_objects", "local_names", "process_state", "unkeepable"]

# What an instance cannot keep --------------------------------------------------------------------------------

_LOCKS = ("Barrier", "BoundedSemaphore", "Condition", "Lock", "RLock", "Semaphore")
_QUEUES = ("LifoQueue", "PriorityQueue", "Queue", "SimpleQueue")

#: What is called → what comes of it.
_MADE_BY: dict[str, str] = {
    **{f"{module}.{name}": "a lock" for module in ("asyncio", "threading") for name in _LOCKS},
    **{f"{module}.{name}": "a queue" for module in ("asyncio", "queue", "multiprocessing") for name in _QUEUES},
    "asyncio.Event": "an event",
    "asyncio.Future": "a future",
    "asyncio.create_subprocess_exec": "a process",
    "asyncio.create_subprocess_shell": "a process",
    "asyncio.get_event_loop": "an event loop",
    "asyncio.get_running_loop": "an event loop",
    "asyncio.new_event_loop": "an event loop",
    "asyncio.open_connection": "a socket",
    "concurrent.futures.ProcessPoolExecutor": "a pool of processes",
    "concurrent.futures.ThreadPoolExecutor": "a pool of threads",
    "io.BytesIO": "an open file",
    "io.StringIO": "an open file",
    "itertools.count": "an iterator",
    "itertools.cycle": "an iterator",
    "open": "an open file",
    "random.Random": "a generator of random numbers",
    "socket.create_connection": "a socket",
    "socket.socket": "a socket",
    "subprocess.Popen": "a process",
    "tempfile.NamedTemporaryFile": "an open file",
    "tempfile.TemporaryFile": "an open file",
    "threading.Event": "an event",
    "threading.local": "what belongs to a thread",
    **dict.fromkeys(("enumerate", "filter", "iter", "map", "reversed", "zip"), "an iterator"),
}

#: Packages whose classes and functions of these names make connections to somewhere.
_CLIENTS = frozenset(
    {
        *(
            "aiohttp",
            "aiokafka",
            "aiomqtt",
            "aiopg",
            "aioredis",
            "anthropic",
            "asyncpg",
            "boto3",
            "docker",
            "elasticsearch",
        ),
        *("httpx", "kafka", "motor", "openai", "paho", "paramiko", "pika", "psycopg", "psycopg2", "pymongo", "pymysql"),
        *("redis", "requests", "serial", "websocket", "websockets", "zmq"),
    }
)
_MAKES_CLIENTS = (
    "Client",
    "Connection",
    "Redis",
    "Session",
    "WebSocketApp",
    "OpenAI",
    "Anthropic",
    "Consumer",
    "Producer",
)
_MAKES_CLIENTS_BY = frozenset(
    {"BlockingConnection", "StrictRedis", "client", "connect", "create_connection", "create_pool", "create_redis"}
    | {"create_redis_pool", "from_env", "from_url", "resource", "session", "Serial"}
)
_ROWS_LATER = frozenset(
    {
        *("all", "annotate", "defer", "distinct", "exclude", "filter", "none", "only", "order_by", "prefetch_related"),
        *("reverse", "select_related", "union", "using", "values", "values_list"),
    }
)


def unkeepable(source: Source, cls: Class) -> Iterator[tuple[ast.AST, str, str]]:
    """Where its methods put into an attribute what cannot be kept: the statement, the attribute, what it is."""
    left_out = _left_out(source, cls)
    if left_out is None:
        return
    for method in cls.methods.values():
        around = local_names(method)
        for node in ast.walk(method):
            for attribute, value in _assignments(node):
                what = _unkeepable(source, value, around)
                if what and attribute not in left_out and not _is_let_go(method, attribute, node):
                    yield node, attribute, what


def _left_out(source: Source, cls: Class) -> set[str] | None:
    """The names in `transient`; None if they cannot be read."""
    names: set[str] = set()
    for known in (cls, *(source.classes.get(name_chain(base)) for base in cls.node.bases)):
        value = class_values(known.node).get("transient") if known else None
        if value is None:
            continue
        try:
            names |= set(ast.literal_eval(value))
        except (ValueError, TypeError):
            return None
    return names


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Attribute) and is_self(target.value):
                yield target.attr, node.value


def _is_let_go(method: ast.AST, attribute: str, node: ast.AST) -> bool:
    """Whether the same method, further down, deletes the attribute or sets it to None."""
    for later in ast.walk(method):
        if getattr(later, "lineno", 0) <= node.lineno:  # type: ignore[attr-defined]
            continue
        if isinstance(later, ast.Delete) and any(name_chain(target) == f"self.{attribute}" for target in later.targets):
            return True
        if any(name == attribute and _is_none(value) for name, value in _assignments(later)):
            return True
    return False


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _unkeepable(source: Source, value: ast.expr, around: set[str]) -> str:
    """What a value is, if it cannot be kept; else nothing. `around` are the names of the method it stands in."""
    if isinstance(value, ast.Await):
        return _unkeepable(source, value.value, around)
    if isinstance(value, ast.GeneratorExp):
        return "a generator"
    if isinstance(value, ast.Lambda):
        return "a lambda that uses what is around it" if _uses(value, around) else ""
    if isinstance(value, (ast.BoolOp, ast.List, ast.Tuple, ast.Set)):
        parts = value.values if isinstance(value, ast.BoolOp) else value.elts
        return next(filter(None, (_unkeepable(source, part, around) for part in parts)), "")
    if isinstance(value, ast.IfExp):
        return _unkeepable(source, value.body, around) or _unkeepable(source, value.orelse, around)
    if isinstance(value, ast.Dict):
        return next(filter(None, (_unkeepable(source, part, around) for part in value.values)), "")
    return _made_by_call(source, value) if isinstance(value, ast.Call) else ""


def _uses(function: ast.Lambda, names: set[str]) -> bool:
    """Whether it has a closure over some of the names, or default values."""
    own = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    read = {node.id for node in ast.walk(function.body) if isinstance(node, ast.Name)}
    return bool(function.args.defaults or function.args.kw_defaults or (read & names) - own)


def _made_by_call(source: Source, call: ast.Call) -> str:
    name = source.dotted(call.func)
    package, _, _ = name.partition(".")
    last = call.func.attr if isinstance(call.func, ast.Attribute) else name.rpartition(".")[2]
    if name in _MADE_BY and not (name in source.functions or name in source.classes):
        return _MADE_BY[name]
    if last == "create_future":
        return "a future"
    if package in _CLIENTS and (last in _MAKES_CLIENTS_BY or last.endswith(_MAKES_CLIENTS)):
        return f"a connection of {package}"
    if last in _ROWS_LATER and ".objects." in f".{name_chain(call.func)}.":
        return "a queryset"
    cls = source.classes.get(name)
    return f"an object of the plain class {name}" if cls is not None and _is_plain(source, cls) else ""


def _is_plain(source: Source, cls: Class, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a class of the module is no dataclass, model, enum or the like."""
    if cls.node.decorator_list or cls.node.keywords:
        return False
    for base in cls.node.bases:
        name = name_chain(base)
        known = source.classes.get(name)
        if name != "object" and (known is None or name in seen or not _is_plain(source, known, seen | {name})):
            return False
    return True


# What a process keeps --------------------------------------------------------------------------------


def process_state(source: Source, cls: Class) -> Iterator[tuple[ast.AST, str, str]]:
    """Where a class, or a function of the module that it calls, changes what the module or the class holds.

    The node, the name of what is changed, and whose it is: "module", "class". The first place for each name.
    """
    changes = _Changes(source, cls)
    found: dict[str, tuple[ast.AST, str, str]] = {}
    for function in changes.functions():
        for node, name, owner in changes.of(function):
            found.setdefault(name, (node, name, owner))
    yield from found.values()


def kept_by_objects(source: Source, cls: Class) -> Iterator[tuple[ast.AST, str, str]]:
    """Where it uses an object of the module that keeps things: the node, the object's name, what it keeps them in."""
    keepers = {}
    for name, value in source.module_values().items():
        kind = source.classes.get(name_chain(value.func)) if isinstance(value, ast.Call) else None
        if kind is not None and (attribute := keeps(kind)):
            keepers[name] = f"{kind.name}.{attribute}"
    found: dict[str, tuple[ast.AST, str, str]] = {}
    for function in _Changes(source, cls).functions():
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id in keepers:
                found.setdefault(node.id, (node, node.id, keepers[node.id]))
    yield from found.values()


def keeps(kind: Class) -> str:
    """The attribute, a container, that methods of a class fill on its instances; "" if there is none."""
    first = kind.methods.get("__init__")
    made = {
        attribute
        for node in (ast.walk(first) if first is not None else ())
        for attribute, value in _assignments(node)
        if is_container(value)
    } | {name for name, value in class_values(kind.node).items() if is_container(value)}
    for name, method in kind.methods.items():
        for node in ast.walk(method) if name != "__init__" else ():
            for target, rebinds in changed(node):
                root = root_of(target)
                if not rebinds and isinstance(root, ast.Attribute) and is_self(root.value) and root.attr in made:
                    return root.attr
    return ""


class _Changes:
    def __init__(self, source: Source, cls: Class) -> None:
        self._source = source
        self._cls = cls
        self._of_module = {name for name, value in source.module_values().items() if is_container(value)}
        lineage = list(_lineage(source, cls))
        self._class_names = {known.node.name for known in lineage}
        self._of_class = {
            name for known in lineage for name, value in class_values(known.node).items() if is_container(value)
        }
        self._on_instances = set[str]().union(*(known.assigned for known in lineage))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Its methods, and the functions of the module that they lead to."""
        waiting = list(self._cls.methods.values())
        seen = set(waiting)
        while waiting:
            function = waiting.pop(0)
            yield function
            for node in ast.walk(function):
                named = self._source.functions.get(node.id) if isinstance(node, ast.Name) else None
                if named is not None and named not in seen:
                    seen.add(named)
                    waiting.append(named)

    def of(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[ast.AST, str, str]]:
        local = local_names(function)
        shared = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
        aliases = self._aliases(function, local)
        for node in ast.walk(function):
            for target, rebinds in changed(node):
                found = self._rebound(target, shared) if rebinds else self._shared(target, local, aliases)
                if found is not None:
                    yield node, *found

    def _aliases(self, function: ast.AST, local: set[str]) -> dict[str, tuple[str, str]]:
        """Local names of what lies in a shared container: `room = rooms[name]`."""
        found: dict[str, tuple[str, str]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(
                node.value, (ast.Subscript, ast.Call, ast.Name, ast.Attribute)
            ):
                shared = self._shared(root_of(node.value), local, found)
                if shared is not None:
                    found |= {target.id: shared for target in node.targets if isinstance(target, ast.Name)}
        return found

    def _shared(self, target: ast.expr, local: set[str], aliases: dict[str, tuple[str, str]]) -> tuple[str, str] | None:
        """The name and owner of what an expression looks into, if that is shared by all connections."""
        target = root_of(target)
        if isinstance(target, ast.Name):
            if target.id in aliases:
                return aliases[target.id]
            return (target.id, "module") if target.id in self._of_module and target.id not in local else None
        if not isinstance(target, ast.Attribute) or target.attr not in self._of_class:
            return None
        if is_self(target.value):
            # What a method has given the instance is its own.
            own = target.attr in self._on_instances
            return None if own else (f"self.{target.attr}", "class")
        return (f"{self._cls.node.name}.{target.attr}", "class") if self._is_class(target.value) else None

    def _rebound(self, target: ast.expr, shared: set[str]) -> tuple[str, str] | None:
        if isinstance(target, ast.Name):
            return (target.id, "module") if target.id in shared else None
        if isinstance(target, ast.Attribute) and self._is_class(target.value):
            return f"{self._cls.node.name}.{target.attr}", "class"
        return None

    def _is_class(self, node: ast.expr) -> bool:
        """Whether it is the class: by its name, `cls`, `type(self)` or `self.__class__`."""
        if isinstance(node, ast.Call):
            return name_chain(node.func) == "type" and len(node.args) == 1 and is_self(node.args[0])
        return name_chain(node) in self._class_names | {"cls", "self.__class__"}


def _lineage(source: Source, cls: Class, seen: frozenset[str] = frozenset()) -> Iterator[Class]:
    yield cls
    for base in cls.node.bases:
        known = source.classes.get(name_chain(base))
        if known is not None and known.name not in seen:
            yield from _lineage(source, known, seen | {cls.name})


def changed(node: ast.AST) -> Iterator[tuple[ast.expr, bool]]:
    """What a statement or call changes; whether by binding the name anew."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = node.targets
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
        targets = [node.target]
    else:
        targets = []
    for target in targets:
        for part in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
            if isinstance(part, ast.Subscript):
                yield part.value, False
            elif isinstance(part, (ast.Name, ast.Attribute)):
                yield part, True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        yield node.func.value, False


def local_names(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """The names that are a function's own: they hide those of the module."""
    shared = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
    bound = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    arguments = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    return (bound | arguments) - shared
