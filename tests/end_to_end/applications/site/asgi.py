"""The ASGI application, with Channels' names."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

django_asgi_app = get_asgi_application()

import channels_broadcast.routing  # noqa: E402
import django_private_chat2.urls  # noqa: E402
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402
from turbo.consumers import TurboStreamsConsumer  # noqa: E402

from .consumers import CommentConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path("comments/", CommentConsumer.as_asgi()),
                        path("turbo/", TurboStreamsConsumer.as_asgi()),
                        *django_private_chat2.urls.websocket_urlpatterns,
                        *channels_broadcast.routing.websocket_urlpatterns,
                    ]
                )
            )
        ),
    }
)
