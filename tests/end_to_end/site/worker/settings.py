"""What the environment says."""

from __future__ import annotations

import os

SECRET_KEY = "the worker's own secret, which protects nothing"
USE_TZ = True
INSTALLED_APPS = ["grip_consumers"]
ASGI_APPLICATION = "tests.end_to_end.site.worker.asgi.application"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["WORKER_REDIS"],
        "KEY_PREFIX": os.environ["WORKER_PREFIX"],
    }
}
