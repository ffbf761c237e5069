"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["MailboxTablesConfig"]


class MailboxTablesConfig(AppConfig):
    """Holds two tables and nothing else."""

    name = "grip_consumers.mailbox.tables"
    label = "grip_consumers_mailbox"
    verbose_name = "GRIP mailbox"
    default_auto_field = "django.db.models.BigAutoField"
