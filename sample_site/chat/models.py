"""What was said, and where."""

from __future__ import annotations

from typing import Any

from django.db import models


class Message(models.Model):
    """One message in one room; the id orders them."""

    room = models.CharField(max_length=60)
    author = models.CharField(max_length=40, blank=True)
    text = models.TextField(max_length=2000)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["room", "id"], name="chat_room_and_id")]

    def __str__(self) -> str:
        return f"{self.author or 'Somebody'} in {self.room}: {self.text}"

    def as_dict(self) -> dict[str, Any]:
        """What a page needs to show the message: JSON types only."""
        return {
            "id": self.pk,
            "author": self.author,
            "message": self.text,
            "created": self.created.isoformat(),
        }
