"""The sample site's settings, with the tests' proxies and probes."""

from __future__ import annotations

import json
import os

from sample_site.settings import *  # noqa: F403
from sample_site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.end_to_end.site"]
ASGI_APPLICATION = "tests.end_to_end.site.asgi.application"
WSGI_APPLICATION = "tests.end_to_end.site.wsgi.application"
GRIP_PROXIES = json.loads(os.environ["GRIP_PROXIES"])
