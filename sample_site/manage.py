#!/usr/bin/env python
"""Django's command line for the sample site: `python sample_site/manage.py runserver`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run a management command with the sample site's settings, from whatever folder it is called."""
    # The project is imported as `sample_site`, so its parent belongs on the path and not its own folder.
    sys.path[0] = str(ROOT)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sample_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
