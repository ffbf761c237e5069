"""Settings of the sample site: everything has a default for a demo, and the environment overrides it."""

from __future__ import annotations

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent

# Good enough for a demo on your own machine; anything that others can reach sets its own.
SECRET_KEY = os.environ.get("SAMPLE_SITE_SECRET_KEY", "only-for-development-and-never-for-the-world")
DEBUG = os.environ.get("SAMPLE_SITE_DEBUG", "1") not in {"", "0"}
# With DEBUG on, an empty list means localhost, 127.0.0.1 and [::1].
ALLOWED_HOSTS = [host for host in os.environ.get("SAMPLE_SITE_ALLOWED_HOSTS", "").split(",") if host]

INSTALLED_APPS = [
    "grip_consumers",  # before staticfiles: its runserver holds the sockets too
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "grip_consumers.mailbox.tables",
    "sample_site.chat",
    "sample_site.live",
]

MIDDLEWARE = [
    "grip_consumers.GripMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "sample_site.urls"
ASGI_APPLICATION = "sample_site.asgi.application"
WSGI_APPLICATION = "sample_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SAMPLE_SITE_DATABASE", BASE_DIR / "sample_site.sqlite3"),
        # Several workers write: let them wait for each other instead of failing.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Where the proxy takes what is published and how it signs. Unset under `runserver`, which brings its own.
if os.environ.get("GRIP_URL"):
    GRIP_URL = os.environ["GRIP_URL"]

# What waits for a connection: several workers, a shell, and a worker that has been restarted share it.
GRIP_MAILBOX = "database"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
