"""Dotted paths in strings: of modules and names of Channels that something imports by them.

A string counts only as a whole. Where its place says that it is imported (``patch("channels.…")``,
``import_string``), every path into a module of Channels 4.3 is one. Anywhere else it has to name something that is
there, "channels.layers.InMemoryChannelLayer": a bare "channels" or "channels.list" may be anything.
"""

from __future__ import annotations

import re
from itertools import chain

import libcst as cst

from .names import OLD, counterpart, has_name, module_of
from .source import Source, dotted_name, text_of

__all__ = ["plan"]

#: What asks for an installed package by its name.
_METADATA = {"distribution", "get_distribution", "version"}
_BY_HAND = "This path into Channels is put together when the program runs."
#: What imports a path that it is given, by the last part of its name.
_IMPORTERS = {
    "__import__",
    "delattr",
    "find_spec",
    "get_app_config",
    "get_containing_app_config",
    "import_module",
    "import_string",
    "importorskip",
    "is_installed",
    "patch",
    "resolve_name",
    "setattr",
}
_DOTTED = re.compile(rf"{OLD}(\.[A-Za-z_]\w*)*")


def plan(source: Source) -> None:
    """Plan the change of every dotted path into Channels."""
    for string in chain(source.find(cst.SimpleString), source.find(cst.ConcatenatedString)):
        if source.is_changed(string) or isinstance(source.parent(string), cst.ConcatenatedString):
            continue
        text = text_of(string)
        if text is not None and _DOTTED.fullmatch(text):
            _plan_path(source, string, text)
        elif text is not None and text.startswith(f"{OLD}.") and _is_imported(source, _whole(source, string)):
            source.note(string, "by-hand", _BY_HAND)
    for template in source.find(cst.FormattedString):
        first = template.parts[0] if template.parts else None
        ours = isinstance(first, cst.FormattedStringText) and first.value.startswith(f"{OLD}.")
        if ours and _is_imported(source, template):
            source.note(template, "by-hand", _BY_HAND)


def _whole(source: Source, string: cst.CSTNode) -> cst.CSTNode:
    """The expression that starts with a string: ``"channels." + name``, ``"channels.{}".format(name)``"""
    above = source.parent(string)
    if isinstance(above, cst.BinaryOperation) and above.left is string:
        return _whole(source, above)
    call = source.parent(above) if isinstance(above, cst.Attribute) else None
    return _whole(source, call) if isinstance(call, cst.Call) else string


def _plan_path(source: Source, string: cst.BaseString, text: str) -> None:
    module = module_of(text)
    name = text.removeprefix(module).lstrip(".").split(".")[0]
    if text == OLD and _asks_for_package(source, string):
        advice = f'Ask for "{counterpart(text).replace("_", "-")}", whose versions are its own, or take this out.'
        source.note(string, "no-counterpart", f"`{text}` is asked for as an installed package. {advice}")
        return
    if _is_imported(source, string):
        if module == OLD and name:
            source.note(string, "no-counterpart", f"Channels 4.3 has no `{text}`: it stays.")
            return
        if name and not has_name(module, name):
            source.note(string, "no-counterpart", f"{counterpart(module)} has no `{name}`.")
    elif module == OLD:
        return
    elif not name:
        source.note(string, "dotted-string", f"`{text}` stays: nothing here says whether it is imported.")
        return
    elif not has_name(module, name):
        return
    if isinstance(string, cst.ConcatenatedString):
        source.note(string, "by-hand", f"`{text}` is written in pieces.")
        return
    source.change(string, lambda node: node.with_changes(value=_moved(node)))


def _moved(node: cst.SimpleString) -> str:
    start = len(node.prefix) + len(node.quote)
    return node.value[:start] + counterpart(node.value[start:])


def _is_imported(source: Source, string: cst.CSTNode) -> bool:
    above = source.parent(string)
    if isinstance(above, cst.Arg):
        call = source.parent(above)
        if not isinstance(call, cst.Call) or not _imports(call.func):
            return False
        return call.args[0] is above or _is_package(call, above)
    if isinstance(above, cst.Comparison):
        operands = [comparison.comparator for comparison in above.comparisons]
        return any(dotted_name(operand).endswith(("INSTALLED_APPS", "sys.modules")) for operand in operands)
    if isinstance(above, cst.Index):
        return _is_sys_modules(source, above)
    return isinstance(above, cst.DictElement) and above.key is string and _is_module_patch(source, above)


def _is_package(call: cst.Call, arg: cst.Arg) -> bool:
    """The second argument of ``import_module(".layers", "channels")``"""
    if dotted_name(call.func).rpartition(".")[2] not in {"find_spec", "import_module", "resolve_name"}:
        return False
    return arg.keyword.value == "package" if arg.keyword is not None else call.args[1:2] == (arg,)


def _asks_for_package(source: Source, string: cst.CSTNode) -> bool:
    """``importlib.metadata.version("channels")``"""
    arg = source.parent(string)
    call = source.parent(arg) if isinstance(arg, cst.Arg) else None
    return isinstance(call, cst.Call) and dotted_name(call.func).rpartition(".")[2] in _METADATA


def _imports(func: cst.BaseExpression) -> bool:
    name = dotted_name(func)
    last = name.rpartition(".")[2]
    if last in {"setattr", "delattr"}:
        return name.startswith("monkeypatch.")
    return last in _IMPORTERS or name == "sys.modules.get" or name == "sys.modules.pop"


def _is_sys_modules(source: Source, index: cst.Index) -> bool:
    subscript = next((above for above, _ in source.ancestors(index) if isinstance(above, cst.Subscript)), None)
    return subscript is not None and dotted_name(subscript.value) == "sys.modules"


def _is_module_patch(source: Source, element: cst.DictElement) -> bool:
    """``patch.dict(sys.modules, {"channels.layers": …})``, or with "sys.modules"."""
    call = next((above for above, _ in source.ancestors(element) if isinstance(above, cst.Call)), None)
    if call is None or not dotted_name(call.func).endswith("patch.dict"):
        return False
    first = call.args[0].value
    return dotted_name(first) == "sys.modules" or text_of(first) == "sys.modules"
