"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class LiveConfig(AppConfig):
    """The live pages of the sample site."""

    name = "sample_site.live"

    def ready(self) -> None:
        """Listen to what is saved, wherever that is done."""
        from sample_site.live import news

        news.connect()
