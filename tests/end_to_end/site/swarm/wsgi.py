"""The swarm site by WSGI: the consumers are found through ASGI_APPLICATION."""

from __future__ import annotations

from grip_consumers.wsgi import get_wsgi_application

from .callbacks import noting_wsgi

application = get_wsgi_application()
#: What the servers run.
served = noting_wsgi(application)
