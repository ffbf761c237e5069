"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """The chat app of the sample site."""

    name = "sample_site.chat"
