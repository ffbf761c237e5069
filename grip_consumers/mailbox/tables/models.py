"""The tables, as migrations know them; they are read and written with SQL of their own (see `..database`)."""

from __future__ import annotations

from django.db import models

__all__ = ["Entry", "Mark"]


class Entry(models.Model):
    """An entry of a log."""

    #: A digest of the log's name.
    log: models.CharField[str, str] = models.CharField(max_length=32)
    position: models.BigIntegerField[int, int] = models.BigIntegerField()
    #: Microseconds since the epoch.
    expires: models.BigIntegerField[int, int] = models.BigIntegerField(db_index=True)
    data: models.BinaryField[bytes, bytes] = models.BinaryField()

    class Meta:
        db_table = "grip_consumers_mailbox_entry"
        constraints = [
            models.UniqueConstraint(fields=["log", "position"], name="grip_consumers_mailbox_place"),
        ]

    def __str__(self) -> str:
        return f"{self.log}:{self.position}"


class Mark(models.Model):
    """A log's end, what was acknowledged of it, or a flag."""

    #: A digest of its kind and the name of the log or flag.
    name: models.CharField[str, str] = models.CharField(max_length=32, primary_key=True)
    position: models.BigIntegerField[int, int] = models.BigIntegerField()
    #: Microseconds since the epoch.
    expires: models.BigIntegerField[int, int] = models.BigIntegerField(db_index=True)

    class Meta:
        db_table = "grip_consumers_mailbox_mark"

    def __str__(self) -> str:
        return f"{self.name}: {self.position}"
