"""What several files of a project have to know of each other, and the migration of them all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from . import apps, imports, layers, settings, sharing, strings
from .apps import Known
from .names import NEW, OLD
from .source import Note, Source

__all__ = ["Facts", "concerns", "facts", "migrate"]

#: A file without any of these has nothing to migrate, and no consumers to look at.
_TRACES = re.compile(rf"\b{OLD}|\b{NEW}\b|\bdaphne\b|CHANNEL_LAYERS|\bMIDDLEWARE\b|channel_layer_alias|Consumer\b")


@dataclass(frozen=True)
class Facts:
    """What was seen in any of the files.

    uses_channels  an import of Channels or of this package, or an entry in the apps
    as_channels    libraries that import `channels` are given this package
    aliases        of the channel layers that consumers use
    local          top-level packages and modules of the project's own
    shared         the files whose name `channels` other files reach
    apps           of the lists of apps
    """

    uses_channels: bool
    as_channels: bool
    aliases: frozenset[str]
    local: frozenset[str]
    shared: frozenset[str]
    apps: Known


def concerns(text: str) -> bool:
    """Whether a file may have something to migrate."""
    return _TRACES.search(text) is not None


def facts(sources: Sequence[Source], local: frozenset[str] = frozenset()) -> Facts:
    """Gather what the files have to know of each other."""
    known = apps.gather(sources)
    uses = as_channels = False
    aliases = {"default"}
    for source in sources:
        uses = uses or any(apps.app_entries(source, known.parts)) or imports.uses_package(source)
        as_channels = as_channels or re.search(rf"^import {NEW}\.as_channels\b", source.text, re.MULTILINE) is not None
        aliases.update(layers.aliases_of(source))
    return Facts(uses, as_channels, frozenset(aliases), local, sharing.shared(sources), known)


def migrate(source: Source, known: Facts) -> tuple[str, list[Note]]:
    """Return a file's new text, and what is left to the reader, by the lines of the old one."""
    # Django's migrations are history: only one that imports Channels is touched.
    if "migrations" not in PurePosixPath(source.path).parts[:-1] or imports.uses_package(source):
        settings.plan(source, known.apps, uses_channels=known.uses_channels, aliases=known.aliases)
        imports.plan(source, local=known.local, as_channels=known.as_channels, shared=source.path in known.shared)
        strings.plan(source)
    return source.changed_text(), sorted(set(source.notes))
