"""Tells the group "site" what happens on the site, by Django's signals: the chat need not know of it."""

from __future__ import annotations

from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction
from django.db.models.signals import post_save
from django.utils import timezone

from grip_consumers.layers import get_channel_layer
from sample_site.chat.models import Message
from sample_site.live.models import Counter, Task

GROUP = "site"


def connect() -> None:
    """Listen to Django's signals."""
    post_save.connect(_message_saved, sender=Message, dispatch_uid="sample_site.live.news")


def totals() -> dict[str, Any]:
    """How much there is of everything, and `at`, before which everything is counted in: the later `at` is right."""
    at = timezone.now()
    return {
        "at": at.isoformat(),
        "messages": Message.objects.count(),
        "open": Task.objects.filter(done=False).count(),
        "done": Task.objects.filter(done=True).count(),
        "counter": Counter.the_one().value,
    }


def tell(kind: str, text: str) -> None:
    """Send everybody who watches the site a line and the new totals, when the transaction is through."""
    transaction.on_commit(partial(_send, kind, text))


def _send(kind: str, text: str) -> None:
    event = {"type": "site.happened", "kind": kind, "text": text, "totals": totals()}
    async_to_sync(get_channel_layer().group_send)(GROUP, event)


def _message_saved(instance: Message, created: bool, **kwargs: Any) -> None:
    if created:
        tell("message", str(instance)[:200])
