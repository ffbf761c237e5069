"""``python -m grip_consumers.migrate``"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def run() -> int:
    """Run the command, or say what is missing."""
    if find_spec("libcst") is None:
        sys.stderr.write('This command needs libcst: pip install "grip-consumers[migrate]"\n')
        return 2
    from .command import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
