"""`manage.py runserver`: pages, static files and WebSockets on one port, with nothing else to start.

Extends whichever `runserver` comes next in INSTALLED_APPS (that of django.contrib.staticfiles, usually), or
Django's own. For that `grip_consumers` has to stand before the app that provides it. The class is made when
it is first asked for, so importing this module loads no app's code.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, CommandParser, find_commands
from django.core.management.base import OutputWrapper
from django.core.management.commands.runserver import Command as DjangoRunserver

if TYPE_CHECKING:
    from grip_consumers.embedded.backend import Application

__all__ = ["make_command", "next_runserver"]

_PACKAGE = Path(__file__).parents[2]
_made: dict[Any, type[DjangoRunserver]] = {}


def __getattr__(name: str) -> Any:
    if name == "Command":
        return make_command(next_runserver())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def next_runserver() -> type[DjangoRunserver]:
    """Return the class behind the `runserver` that Django would find if this package had none."""
    configs = list(apps.get_app_configs())
    # By their paths: this package may be installed as `channels`, too (see as_channels).
    own = [Path(config.path) == _PACKAGE for config in configs]
    for config, is_own in list(zip(configs, own, strict=True))[own.index(True) if True in own else 0 :]:
        if not is_own and "runserver" in find_commands(str(Path(config.path) / "management")):
            command = importlib.import_module(f"{config.name}.management.commands.runserver").Command
            if isinstance(command, type) and issubclass(command, DjangoRunserver):
                return command
    return DjangoRunserver


def make_command(parent: type[DjangoRunserver]) -> type[DjangoRunserver]:
    """Return `parent` with the embedded proxy under it; the same class for the same parent."""
    if parent not in _made:
        _made[parent] = type("Command", (_GripRunserver, parent), {"__module__": __name__})
    return _made[parent]


class _GripRunserver(DjangoRunserver):
    help = "Starts a development server for pages and WebSockets, with a GRIP proxy inside."

    # Set by Django's handle(), which no stub declares.
    addr: str
    _raw_ipv6: bool
    _use_grip: bool

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --nogrip to what the next command takes."""
        super().add_arguments(parser)
        parser.add_argument(
            "--nogrip",
            action="store_false",
            dest="use_grip",
            help="Run the next runserver command as it is, without WebSockets through the embedded proxy.",
        )

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Check what is needed before the autoreloader starts, so that the error comes last."""
        self._use_grip = options.get("use_grip", True)
        if self._use_grip:
            _check_requirements()
        return super().handle(*args, **options)

    def run(self, **options: Any) -> None:
        """Run the server, with the autoreloader if wanted, and let its connections end with it."""
        if not self._use_grip:
            super().run(**options)
            return
        from grip_consumers.embedded.server import DevelopmentServer

        try:
            super().run(**options)
        finally:
            DevelopmentServer.stop_all()

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check the project and serve it, past a parent that would start a server of its own."""
        if not self._use_grip:
            super().inner_run(*args, **options)
            return
        from grip_consumers.embedded.server import DevelopmentServer

        self.server_cls = DevelopmentServer  # type: ignore[assignment]
        DjangoRunserver.inner_run(self, *args, **options)

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Return the ASGI application inside the embedded proxy, with the parent's static files."""
        if not self._use_grip:
            return super().get_handler(*args, **options)
        from grip_consumers import discovery
        from grip_consumers.embedded import EmbeddedProxy
        from grip_consumers.embedded.server import CONTROL_PATH, log_requests
        from grip_consumers.routing import get_default_application

        application = _with_static_files(get_default_application(), options)
        proxy = EmbeddedProxy(application, signing_key=discovery.signing_key(), control_path=CONTROL_PATH)
        return log_requests(proxy)

    def on_bind(self, server_port: int) -> None:
        """Print Django's banner and where WebSockets are."""
        if not self._use_grip:
            super().on_bind(server_port)
            return
        # Newer Djangos name the interface of their own server in the banner.
        stdout, banner = self.stdout, io.StringIO()
        self.stdout = OutputWrapper(banner)
        super().on_bind(server_port)
        self.stdout = stdout
        self.stdout.write(banner.getvalue().replace("WSGI development", "ASGI development", 1), ending="")
        host = "0.0.0.0" if self.addr == "0" else f"[{self.addr}]" if self._raw_ipv6 else self.addr  # noqa: S104
        self.stdout.write(
            f"WebSockets at ws://{host}:{server_port}/ through the embedded GRIP proxy, "
            "which is for development and tests only."
        )


def _with_static_files(application: Application, options: dict[str, Any]) -> Application:
    # The option exists if the command that this one extends serves static files.
    if not options.get("use_static_handler") or not (settings.DEBUG or options.get("insecure_serving")):
        return application
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    # It takes any ASGI application, whatever the stubs say.
    handler: Any = ASGIStaticFilesHandler
    served: Application = handler(application)
    return served


def _check_requirements() -> None:
    if importlib.util.find_spec("uvicorn") is None:
        raise CommandError(
            "runserver needs uvicorn to serve WebSockets and did not find it. "
            'Install it with: pip install "grip-consumers[server]" (or run with --nogrip for pages only).'
        )
    if not getattr(settings, "ASGI_APPLICATION", None):
        raise CommandError(
            "runserver serves the application that settings.ASGI_APPLICATION names, and it is not set. "
            'Set it to the path of your ProtocolTypeRouter, "mysite.asgi.application" for instance, '
            "or run with --nogrip."
        )
