"""A project as `django-admin startproject` writes it, with the package's middleware."""

from __future__ import annotations

import json
import os

SECRET_KEY = os.environ["VIEWS_SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = [
    "grip_consumers",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "grip_consumers.mailbox.tables",
    "rest_framework",
]
MIDDLEWARE = [
    "grip_consumers.GripMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.end_to_end.views.site.urls"
ASGI_APPLICATION = "tests.end_to_end.views.site.asgi.application"
WSGI_APPLICATION = "tests.end_to_end.views.site.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["VIEWS_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
# The backends are processes of their own, which share what waits for a connection.
GRIP_MAILBOX = "database"
GRIP_PROXIES = json.loads(os.environ["GRIP_PROXIES"])
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
