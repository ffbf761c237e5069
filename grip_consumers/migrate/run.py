"""One run of the command over its paths: reads, plans, writes, and then says what it did."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grip_consumers.scan import scan

from . import differences, files, project, requirements, writing
from .output import Output
from .own import own_channels
from .source import Note, Source

__all__ = ["Run"]

_TOO_DEEP = "is nested too deeply"
_OWN = (
    "is this project's own `channels`, so its imports do not mean Django Channels: rename it, or leave it out by "
    "--exclude if nothing imports it by that name alone"
)
_OUTSIDE = (
    "Files of this diff are outside of the working folder, where git apply and patch refuse them: "
    "run the command in a folder that holds them, or with --write."
)


@dataclass
class _File:
    """One file on its way: `label` is what the user sees, `content` the new text."""

    path: Path
    label: str
    text: files.Text
    source: Source | None = None
    content: str = ""
    notes: list[Note] = field(default_factory=list)

    @property
    def is_changed(self) -> bool:
        return self.content != self.text.content


class Run:
    """One run over the paths of the command line.

    Args:
        write: whether files are written; else the diff is shown.
        exclude: patterns of what is left out.
        ignored: rules that are not reported.
    """

    def __init__(self, *, write: bool, exclude: tuple[str, ...] = (), ignored: frozenset[str] = frozenset()) -> None:
        self._write = write
        self._exclude = exclude
        self._ignored = ignored
        self._changed = self._reported = self._failed = 0
        self._seen: set[tuple[str, str]] = set()
        self._output = Output()

    def over(self, paths: Sequence[Path]) -> int:
        """Do it all, and return the exit status."""
        batch = [file for path in paths for file in self._read_all(path)]
        self._plan_all(batch)
        # All is written before anything is said of it: the reader of the output may go away.
        for file in batch if self._write else ():
            self._write_file(file)
        for file in batch:
            self._show(file)
        if not self._write and any(file.is_changed and _is_outside(file.label) for file in batch):
            self._output.say(_OUTSIDE)
        for file in batch:
            self._report(file)
        for path in paths:
            self._report_requirements(path)
        if self._output.fault:
            self._fail("standard output", f"does not take what is written to it: {self._output.fault}")
        self._output.say(self._summary())
        return 2 if self._failed else int(bool(self._reported or (self._changed and not self._write)))

    def _read_all(self, path: Path) -> list[_File]:
        try:
            path.stat()
        except FileNotFoundError:
            self._fail(_label(path), "does not exist")
        except OSError as error:
            self._fail(_label(path), _reason(error))
        else:
            own = own_channels(path, self._exclude)
            if own is None:
                found = files.python_files(path, self._exclude, self._refused)
                return [
                    read
                    for file in found
                    if self._is_new("source", file) and (read := self._read(file, path)) is not None
                ]
            self._fail(_label(own), _OWN)
        return []

    def _refused(self, error: OSError) -> None:
        self._fail(_label(Path(os.fsdecode(error.filename))), f"{_reason(error)}; --exclude leaves it out")

    def _is_new(self, role: str, path: Path) -> bool:
        """Whether a file was not met before in this role: paths may overlap."""
        met = (role, os.path.realpath(path))
        new = met not in self._seen
        self._seen.add(met)
        return new

    def _read(self, path: Path, root: Path) -> _File | None:
        label = _label(path)
        relative = path.relative_to(root).as_posix() if path != root else label
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise OSError("is no regular file")
            # What does not concern this may be no Python at all: templates, say.
            if not project.concerns(path.read_bytes().decode("latin-1")):
                return None
            text = files.read(path)
            return _File(path, label, text, Source(text.content, relative), text.content)
        except OSError as error:
            self._fail(label, _reason(error))
        except SyntaxError as error:
            self._fail(label, str(error))
        except RecursionError:
            self._fail(label, _TOO_DEEP)
        return None

    def _plan_all(self, batch: list[_File]) -> None:
        known = project.facts([file.source for file in batch if file.source is not None], _local_names(batch))
        for file in batch:
            if file.source is not None:
                self._plan(file, file.source, known)
            file.source = None  # trees are large

    def _plan(self, file: _File, source: Source, known: project.Facts) -> None:
        try:
            file.content, file.notes = project.migrate(source, known)
        except RecursionError:
            self._fail(file.label, _TOO_DEEP)

    def _write_file(self, file: _File) -> None:
        if not file.is_changed:
            return
        try:
            old, new = file.text.bytes_of(file.text.content), file.text.bytes_of(file.content)
            writing.replace(file.path, old, new)
        except (OSError, UnicodeError) as error:
            self._fail(file.label, _reason(error))
            file.content = file.text.content

    def _show(self, file: _File) -> None:
        if not file.is_changed:
            return
        self._changed += 1
        if self._write:
            self._output.show_line(f"changed {file.label}")
            return
        try:
            shown = differences.diff(file.label, file.text.content, file.content, file.text.encoding)
        except UnicodeError as error:
            self._fail(file.label, _reason(error))
            return
        self._output.show(shown)

    def _report(self, file: _File) -> None:
        moved = differences.moved_lines(file.text.content, file.content) if self._write else {}
        for note in file.notes:
            if note.kind not in self._ignored:
                self._say_finding(f"{file.label}:{moved.get(note.line, note.line)}: {note.kind}: {note.text}")
        try:
            # What stands on the disk now, so that the lines are those that an editor shows.
            findings = scan(file.content if self._write else file.text.content, file.label)
        except (SyntaxError, ValueError, RecursionError) as error:
            self._fail(file.label, f"cannot be searched: {error}")
            return
        for finding in findings:
            if not self._ignored & {finding.rule.id, finding.rule.name, finding.rule.check_id}:
                self._say_finding(str(finding))

    def _report_requirements(self, path: Path) -> None:
        for file in files.requirement_files(path, self._exclude) if files.exists(path) else ():
            label = _label(file)
            if not self._is_new("requirements", file):
                continue
            try:
                text = file.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                self._fail(label, _reason(error))
                continue
            for note in requirements.notes(text, in_python=file.suffix == ".py"):
                if note.kind not in self._ignored:
                    self._say_finding(f"{label}:{note.line}: {note.kind}: {note.text}")

    def _say_finding(self, text: str) -> None:
        self._reported += 1
        self._output.say(text)

    def _fail(self, label: str, reason: str) -> None:
        self._failed += 1
        self._output.say(f"{label}: error: {reason}")

    def _summary(self) -> str:
        files_changed = f"{self._changed} {'file' if self._changed == 1 else 'files'}"
        return f"{files_changed} {'changed' if self._write else 'would change'}, {self._reported} reported, " + (
            f"{self._failed} with errors" if self._failed else "no errors"
        )


def _local_names(batch: Iterable[_File]) -> frozenset[str]:
    return frozenset(name for file in batch for name in (file.path.stem, file.path.parent.name))


def _label(path: Path) -> str:
    """A path as seen from the working directory, if it is in there."""
    here = Path.cwd()
    absolute = here / path
    plain = Path(os.path.normpath(absolute))
    if ".." in absolute.parts and os.path.realpath(plain) == os.path.realpath(absolute):
        absolute = plain
    return (absolute.relative_to(here) if absolute.is_relative_to(here) else path).as_posix()


def _is_outside(label: str) -> bool:
    return label.startswith(("/", "../"))


def _reason(error: Exception) -> str:
    """What went wrong, without the path that stands before it already."""
    strerror = getattr(error, "strerror", None)
    return f"{strerror[:1].lower()}{strerror[1:]}" if isinstance(strerror, str) and strerror else str(error)
