"""The swarm site by ASGI."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

django_asgi_app = get_asgi_application()

from django.urls import path  # noqa: E402
from grip_consumers.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from . import consumers  # noqa: E402
from .callbacks import noting_asgi  # noqa: E402

routes = [
    path("ws/shared/", consumers.Shared.as_asgi()),
    path("ws/own/", consumers.Own.as_asgi()),
    path("ws/async-shared/", consumers.AsyncShared.as_asgi()),
    path("ws/async-own/", consumers.AsyncOwn.as_asgi()),
]

#: What ASGI_APPLICATION names.
application = ProtocolTypeRouter({"http": django_asgi_app, "websocket": URLRouter(routes)})
#: What the servers run.
served = noting_asgi(application)
