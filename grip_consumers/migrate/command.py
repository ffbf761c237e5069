"""The command: arguments, what is shown where, and the exit status."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grip_consumers.compatibility import RULES
from grip_consumers.scan import scan

from . import files, project, requirements
from .source import Note, Source

__all__ = ["main"]

DESCRIPTION = "Move a project's source from channels to grip_consumers."
EPILOG = """\
The diff goes to standard output, as patch and git apply take it; the report, of what will not work and what to do
instead, to standard error.

exit status: 0 nothing left to do; 1 something would change (without --write), or something is reported;
2 a file cannot be read, parsed or written, or the arguments are wrong. Files without such a fault are written.
"""


_TOO_DEEP = "is nested too deeply"


@dataclass
class _File:
    """One file on its way: `label` is what the user sees, `content` the new text."""

    path: Path
    label: str
    text: files.Text
    source: Source | None = None
    content: str = ""
    notes: list[Note] = field(default_factory=list)


class _Run:
    """One run over the paths of the command line."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.write: bool = options.write
        self.exclude: tuple[str, ...] = tuple(options.exclude)
        self.ignored = {name for names in options.ignore for name in re.split(r"[,\s]+", names) if name}
        self.changed = self.reported = self.failed = 0

    def over(self, paths: Sequence[Path]) -> int:
        batch: list[_File] = []
        for path in paths:
            if not path.exists():
                self._fail(_label(path), "does not exist")
            elif (own := _own_channels(path)) is not None:
                self._fail(_label(own), "is this project's own `channels`, so its imports do not mean Django Channels")
            else:
                batch += self._read_all(path)
        self._migrate(batch)
        for path in paths:
            self._report_requirements(path)
        _say(self._summary())
        return 2 if self.failed else int(bool(self.reported or (self.changed and not self.write)))

    def _read_all(self, path: Path) -> list[_File]:
        read = (self._read(file, path) for file in files.python_files(path, self.exclude))
        return [file for file in read if file is not None]

    def _read(self, path: Path, root: Path) -> _File | None:
        label = _label(path)
        relative = path.relative_to(root).as_posix() if path != root else label
        try:
            # What does not concern this may be no Python at all: templates, say.
            if not project.concerns(path.read_bytes().decode("latin-1")):
                return None
            text = files.read(path)
            return _File(path, label, text, Source(text.content, relative), text.content)
        except (OSError, SyntaxError) as error:
            self._fail(label, str(error))
        except RecursionError:
            self._fail(label, _TOO_DEEP)
        return None

    def _migrate(self, batch: list[_File]) -> None:
        sources = [file.source for file in batch if file.source is not None]
        known = project.facts(sources, _local_names(batch))
        for file in batch:
            if file.source is not None:
                self._plan(file, file.source, known)
            file.source = None  # trees are large
            if file.content != file.text.content:
                self._show(file)
        for file in batch:
            self._report(file)

    def _plan(self, file: _File, source: Source, known: project.Facts) -> None:
        try:
            file.content, file.notes = project.migrate(source, known)
        except RecursionError:
            self._fail(file.label, _TOO_DEEP)

    def _show(self, file: _File) -> None:
        if self.write:
            try:
                files.write(file.path, file.text, file.content)
            except (OSError, UnicodeEncodeError) as error:
                self._fail(file.label, str(error))
                file.content = file.text.content
                return
            sys.stdout.write(f"changed {file.label}\n")
        else:
            _show_diff(file)
        self.changed += 1

    def _report(self, file: _File) -> None:
        moved = _moved_lines(file.text.content, file.content) if self.write else {}
        for note in file.notes:
            if note.kind not in self.ignored:
                self._say_finding(f"{file.label}:{moved.get(note.line, note.line)}: {note.kind}: {note.text}")
        try:
            # What stands on the disk now, so that the lines are those that an editor shows.
            findings = scan(file.content if self.write else file.text.content, file.label)
        except (SyntaxError, ValueError, RecursionError) as error:
            self._fail(file.label, f"cannot be searched: {error}")
            return
        for finding in findings:
            if not self.ignored & {finding.rule.id, finding.rule.name, finding.rule.check_id}:
                self._say_finding(str(finding))

    def _report_requirements(self, path: Path) -> None:
        for file in files.requirement_files(path, self.exclude):
            text = file.read_text(encoding="utf-8", errors="replace")
            for note in requirements.notes(text):
                if note.kind not in self.ignored:
                    self._say_finding(f"{_label(file)}:{note.line}: {note.kind}: {note.text}")

    def _say_finding(self, text: str) -> None:
        self.reported += 1
        _say(text)

    def _fail(self, label: str, reason: str) -> None:
        self.failed += 1
        _say(f"{label}: error: {reason}")

    def _summary(self) -> str:
        files_changed = f"{self.changed} {'file' if self.changed == 1 else 'files'}"
        return f"{files_changed} {'changed' if self.write else 'would change'}, {self.reported} reported, " + (
            f"{self.failed} with errors" if self.failed else "no errors"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m grip_consumers.migrate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a project's folder, or a file")
    parser.add_argument("--write", action="store_true", help="change the files instead of showing a diff")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="leave these out (may repeat)")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="NAMES", help='do not report these: "W027,dependency"'
    )
    options = parser.parse_args(arguments)
    unknown = _unknown_rules(options.ignore)
    if unknown:
        parser.error(f"--ignore: no rule is called {', '.join(unknown)}; known are {', '.join(_known_rules())}")
    return _Run(options).over(options.paths)


#: The kinds of notes that the planners write.
KINDS = (
    "by-hand",
    "daphne",
    "dependency",
    "dotted-string",
    "layer-option",
    "no-counterpart",
    "third-party",
)


def _known_rules() -> list[str]:
    return [*KINDS, *RULES]


def _unknown_rules(ignore: Iterable[str]) -> list[str]:
    known = {*_known_rules(), *(rule.id for rule in RULES.values()), *(rule.check_id for rule in RULES.values())}
    return [name for names in ignore for name in re.split(r"[,\s]+", names) if name and name not in known]


def _own_channels(path: Path) -> Path | None:
    """A top-level `channels` of the project's own: beside manage.py, or in a path that is no package itself."""
    if not path.is_dir() or (path / "__init__.py").exists():
        return None
    candidates = (path / "channels" / "__init__.py", path / "channels.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _local_names(batch: Iterable[_File]) -> frozenset[str]:
    return frozenset(name for file in batch for name in (file.path.stem, file.path.parent.name))


def _label(path: Path) -> str:
    """A path as seen from the working directory, if it is in there."""
    absolute = Path.cwd() / path
    return (absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else path).as_posix()


def _lines(text: str) -> list[str]:
    """Lines as patch counts them: only a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _show_diff(file: _File) -> None:
    """In the file's own encoding and line endings, so that the diff can be applied to it."""
    sys.stdout.flush()
    sys.stdout.buffer.write(_diff(file.label, file.text.content, file.content).encode(file.text.encoding, "replace"))
    sys.stdout.buffer.flush()


def _diff(label: str, old: str, new: str) -> str:
    label = label.lstrip("/")
    lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{label}", f"b/{label}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _moved_lines(old: str, new: str) -> dict[int, int]:
    """Where each line of the old text is in the new one; what was taken out, where it would be."""
    if old == new:
        return {}
    moved: dict[int, int] = {}
    for _, start, end, new_start, new_end in difflib.SequenceMatcher(
        None, _lines(old), _lines(new), autojunk=False
    ).get_opcodes():
        for line in range(start, end):
            moved[line + 1] = min(new_start + line - start, max(new_end - 1, 0)) + 1
    return moved


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")
