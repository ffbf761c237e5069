"""Streams of turbo-django."""

from __future__ import annotations

import turbo


class News(turbo.Stream):
    """What everybody may hear."""
