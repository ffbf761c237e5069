"""The ASGI application, written as Channels' tutorial writes it."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sample_site.settings")
# Loads the apps, so it comes before anything that imports models.
django_asgi_app = get_asgi_application()

from grip_consumers.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from grip_consumers.auth import AuthMiddlewareStack  # noqa: E402
from grip_consumers.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from sample_site.chat import routing as chat  # noqa: E402
from sample_site.live import routing as live  # noqa: E402

routes = [*chat.websocket_urlpatterns, *live.websocket_urlpatterns]

application = ProtocolTypeRouter(
    {
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes))),
    }
)
