"""The Django application."""

from django.apps import AppConfig, apps

__all__ = ["ChannelsConfig", "GripConsumersConfig"]


class GripConsumersConfig(AppConfig):
    """`grip_consumers` in INSTALLED_APPS: brings the commands, `runserver` with its embedded proxy, and the checks."""

    name = "grip_consumers"
    verbose_name = "GRIP consumers"

    def ready(self) -> None:
        """Register the checks, and be ready for consumers of Channels itself if the project has both apps."""
        from grip_consumers import genuine
        from grip_consumers.checks import register_all

        register_all()
        genuine.fit(now=apps.is_installed("channels"))


class ChannelsConfig(GripConsumersConfig):
    """The same by the name that Channels has for it (`channels.apps.ChannelsConfig`)."""

    # One class alone may be what the name of the package stands for.
    default = False
