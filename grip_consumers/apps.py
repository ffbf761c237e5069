"""The Django application."""

from django.apps import AppConfig

__all__ = ["GripConsumersConfig"]


class GripConsumersConfig(AppConfig):
    """`grip_consumers` in INSTALLED_APPS: brings the commands, `runserver` with its embedded proxy, and the checks."""

    name = "grip_consumers"
    verbose_name = "GRIP consumers"

    def ready(self) -> None:
        """Register the checks."""
        from grip_consumers.checks import register_all

        register_all()
