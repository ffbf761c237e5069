"""The ASGI application, written as Channels' tutorial writes it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from django.core.asgi import get_asgi_application

django_asgi_app = get_asgi_application()

from grip_consumers.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from grip_consumers.auth import AuthMiddlewareStack  # noqa: E402
from grip_consumers.security.websocket import AllowedHostsOriginValidator  # noqa: E402

PARTS = [f"{__package__}.{part}_routing" for part in ("request", "stream")]
routes = [route for part in PARTS if find_spec(part) for route in import_module(part).websocket_urlpatterns]

application = ProtocolTypeRouter(
    {
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes))),
    }
)
