from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def site(settings: Any) -> Any:
    """The project of `tests.testing.site`, which has neither a proxy nor a mailbox that works."""
    settings.ASGI_APPLICATION = "tests.testing.site.application"
    settings.ROOT_URLCONF = "tests.testing.site"
    settings.MIDDLEWARE = ["grip_consumers.GripMiddleware"]
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:9", "key": "k", "verify_key": "v" * 32}]
    settings.GRIP_MAILBOX = "nowhere.to.be.Found"
    return settings
