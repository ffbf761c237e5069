"""The Django app that brings the tables of :class:`~grip_consumers.mailbox.database.DatabaseMailbox`.

Only projects with ``GRIP_MAILBOX = "database"`` need it in INSTALLED_APPS.
"""
