"""The command: its arguments and what it is said to do."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from grip_consumers.compatibility import RULES

from .run import Run

__all__ = ["main"]

DESCRIPTION = "Move a project's source from channels to grip_consumers."
EPILOG = """\
The diff goes to standard output, as patch and git apply take it; the report, of what will not work and what to do
instead, to standard error.

exit status: 0 nothing left to do; 1 something would change (without --write), or something is reported;
2 a file cannot be read, parsed or written, or the arguments are wrong. Files without such a fault are written.
"""


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
    ignored = frozenset(name for names in options.ignore for name in re.split(r"[,\s]+", names) if name)
    return Run(write=options.write, exclude=tuple(options.exclude), ignored=ignored).over(options.paths)


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
