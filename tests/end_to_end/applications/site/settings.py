"""A Channels project's settings; the one import on top makes `channels` stand for grip_consumers."""

from __future__ import annotations

import grip_consumers.as_channels  # noqa: F401 # isort: skip

import json
import os

SITE = "tests.end_to_end.applications.site"

SECRET_KEY = os.environ["APPLICATIONS_SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = [
    "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "djangochannelsrestframework",
    "django_private_chat2",
    "channels_broadcast",
    "turbo",
    SITE,
    "grip_consumers.mailbox.tables",
]
MIDDLEWARE = [
    "grip_consumers.GripMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = f"{SITE}.urls"
ASGI_APPLICATION = f"{SITE}.asgi.application"
WSGI_APPLICATION = f"{SITE}.wsgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["APPLICATIONS_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
GRIP_MAILBOX = "database"
GRIP_PROXIES = json.loads(os.environ["GRIP_PROXIES"])
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
