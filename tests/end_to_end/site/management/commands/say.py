"""`say ROOM TEXT`: a message from another process, as a cron job or a task worker would send it."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandParser

from grip_consumers.layers import get_channel_layer
from sample_site.chat.models import Message


class Command(BaseCommand):
    """Keep the message and send it to the room."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("room")
        parser.add_argument("text")

    def handle(self, *args: Any, **options: Any) -> None:
        message = Message.objects.create(room=options["room"], author="a command", text=options["text"])
        event = {"type": "chat.message", "message": message.as_dict()}
        async_to_sync(get_channel_layer().group_send)(f"chat_{options['room']}", event)
