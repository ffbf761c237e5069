"""Settings of the swarm site; what differs between its servers comes from the environment."""

from __future__ import annotations

import json
import os

# The key that seals, then those that only open.
SECRET_KEY, *SECRET_KEY_FALLBACKS = json.loads(os.environ["SWARM_SECRETS"])
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = ["grip_consumers"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = f"{__package__}.urls"
ASGI_APPLICATION = f"{__package__}.asgi.application"
WSGI_APPLICATION = f"{__package__}.wsgi.application"
# Shared by all processes: large states lie here, and what members must fetch for themselves.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["SWARM_REDIS"],
    },
}
GRIP_PROXIES = json.loads(os.environ["GRIP_PROXIES"])
# What fails must be seen by the tests, though DEBUG is off.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
