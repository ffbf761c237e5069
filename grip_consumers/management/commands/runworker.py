"""`manage.py runworker`: handle what is sent to named channels (channels.management.commands.runworker)."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from grip_consumers import DEFAULT_CHANNEL_LAYER, mailbox
from grip_consumers.layers import DualChannelLayer, GripChannelLayer, get_channel_layer
from grip_consumers.routing import get_default_application
from grip_consumers.worker import Worker

__all__ = ["Command"]

logger = logging.getLogger("django.channels.worker")


class Command(BaseCommand):
    """Runs a worker until it is told to stop by SIGTERM or SIGINT."""

    help = "Handles the messages of named channels by the ChannelNameRouter of ASGI_APPLICATION."
    leave_locale_alone = True
    worker_class = Worker

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare `--layer` and the channels."""
        super().add_arguments(parser)
        parser.add_argument(
            "--layer",
            action="store",
            dest="layer",
            default=DEFAULT_CHANNEL_LAYER,
            help="Channel layer alias to use, if not the default.",
        )
        parser.add_argument("channels", nargs="+", help="Channels to listen on.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker. Raises CommandError where there is no layer, or one that no other process sends to."""
        self.verbosity = options.get("verbosity", 1)
        self.channel_layer = get_channel_layer(options.get("layer", DEFAULT_CHANNEL_LAYER))
        if self.channel_layer is None:
            raise CommandError("You do not have any CHANNEL_LAYERS configured.")
        own = isinstance(self.channel_layer, GripChannelLayer) and not isinstance(self.channel_layer, DualChannelLayer)
        if own and not mailbox.get().blocking:
            raise CommandError(
                "A worker would never get a message: the mailbox lies in the memory of each process. Set GRIP_MAILBOX "
                "to 'database', or configure a cache on Redis or Memcached, which all processes share."
            )
        logger.info("Running worker for channels %s", options["channels"])
        worker = self.worker_class(
            application=get_default_application(),
            channels=options["channels"],
            channel_layer=self.channel_layer,
        )
        worker.run()  # type: ignore[no-untyped-call]
