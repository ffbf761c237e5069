"""The sample site's ASGI application with the probes' routes."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

django_asgi_app = get_asgi_application()

from django.urls import re_path  # noqa: E402
from grip_consumers.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from grip_consumers.auth import AuthMiddlewareStack  # noqa: E402
from grip_consumers.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from sample_site.asgi import routes as sample_routes  # noqa: E402
from sample_site.chat.routing import ROOM  # noqa: E402

from .consumers import AsyncProbe, Probe  # noqa: E402

routes = [
    *sample_routes,
    re_path(rf"^ws/probe/{ROOM}/$", Probe.as_asgi()),
    re_path(rf"^ws/async-probe/{ROOM}/$", AsyncProbe.as_asgi()),
]

application = ProtocolTypeRouter(
    {
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes))),
    }
)
