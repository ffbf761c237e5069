"""Source to migrate: single files as text, and the projects under `projects/`, whose files are kept as *.py.txt."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

from grip_consumers.migrate.project import Facts, facts
from grip_consumers.migrate.source import Note, Source

PROJECTS = Path(__file__).parent / "projects"


def copy(name: str, folder: Path) -> Path:
    """Copy a project into a folder as it would stand there."""
    target = folder / name
    shutil.copytree(PROJECTS / name, target, ignore=shutil.ignore_patterns("expected.*"))
    for file in target.rglob("*.*.txt"):
        file.rename(file.with_suffix(""))
    return target


def planned(text: str, plan: Callable[[Source], None], path: str = "app/code.py") -> tuple[str, list[Note]]:
    """What one planner makes of a text, and its notes."""
    source = Source(dedent(text), path)
    plan(source)
    return source.changed_text(), sorted(set(source.notes))


def alone(text: str, path: str = "app/settings.py", **changes: object) -> tuple[Source, Facts]:
    """A file that is a project of its own, and what is known of that."""
    source = Source(dedent(text), path)
    return source, replace(facts([source]), **changes)  # type: ignore[arg-type]
