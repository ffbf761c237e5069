"""The Django project that the suite runs in: what a project has before it configures this package."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "the suite's own secret key, which protects nothing"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "grip_consumers",
]
MIDDLEWARE: list[str] = []
STATIC_URL = "/static/"

# A file, as Django never closes a connection to a database in memory: closing is what some tests look at.
_FILE = Path(tempfile.gettempdir()) / f"grip_consumers_tests_{os.getpid()}.sqlite3"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "TEST": {"NAME": str(_FILE)}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
# Fast, and good for nothing else.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Tests compare what the application sends; what keeps connections open beside that has tests of its own.
GRIP_HEARTBEAT = 0
