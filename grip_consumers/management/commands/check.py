"""`manage.py check`, which with `--tag grip` also says what is in order (see `grip_consumers.checks`)."""

from __future__ import annotations

from typing import Any

from django.core.management.commands.check import Command as DjangoCheck

from grip_consumers.checks import TAG, listing

__all__ = ["Command"]


class Command(DjangoCheck):
    """Django's own, which cannot tell its checks that they were asked for by name."""

    def handle(self, *app_labels: Any, **options: Any) -> None:
        """Run the checks."""
        token = listing.set(TAG in (options.get("tags") or ()))
        try:
            super().handle(*app_labels, **options)
        finally:
            listing.reset(token)
