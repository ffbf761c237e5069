"""The Django application."""

from django.apps import AppConfig

__all__ = ["GripConsumersConfig"]


class GripConsumersConfig(AppConfig):
    """`grip_consumers` in INSTALLED_APPS: brings the `runserver` command with its embedded proxy."""

    name = "grip_consumers"
    verbose_name = "GRIP consumers"
