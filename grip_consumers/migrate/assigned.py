"""What is assigned to which name, in a module, a class (django-configurations) or a call."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from .source import Source, dotted_name

__all__ = ["Sequence", "assignments", "is_part", "targets"]

#: What parts of INSTALLED_APPS are called by convention.
_PARTS = re.compile(r"(^|_)(INSTALLED|DJANGO|THIRD_?PARTY|LOCAL|PROJECT|SHARED|TENANT|PREREQ)_APPS$")

#: A list as it is written out.
Sequence = cst.List | cst.Tuple | cst.Set


def assignments(source: Source) -> Iterator[cst.Assign | cst.AnnAssign]:
    """Every statement that gives a name a value of its own."""
    yield from source.find(cst.Assign)
    yield from source.find(cst.AnnAssign)


def targets(statement: cst.Assign | cst.AnnAssign | cst.AugAssign) -> list[str]:
    """The last parts of the names to which a value goes; "" for what is no name."""
    if isinstance(statement, cst.Assign):
        nodes: list[cst.BaseExpression] = [target.target for target in statement.targets]
    else:
        nodes = [statement.target]
    return [dotted_name(node).rpartition(".")[2] for node in nodes]


def is_part(name: str, parts: frozenset[str]) -> bool:
    """Whether a name is that of a list of apps: by convention, or as INSTALLED_APPS is made of it."""
    return name in parts or _PARTS.search(name) is not None
