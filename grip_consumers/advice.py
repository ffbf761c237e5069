"""Texts that tell somebody who came by the wrong way what to do."""

__all__ = ["DIRECT_WEBSOCKET"]

DIRECT_WEBSOCKET = """\
501 Not Implemented: a WebSocket was opened directly to the Django server.

No process of this site holds WebSocket connections: a GRIP proxy (Pushpin, Fastly Fanout) does, and passes
their messages on by HTTP. Let the client connect to the proxy's address instead.

If it did, the proxy forwards WebSockets as such: its route to this server must have WebSocket-over-HTTP
switched on (Pushpin's routes file: `* localhost:8000,over_http`).

In Django's settings, GRIP_URL (or GRIP_PROXIES) says where to publish to the proxy. For development,
`manage.py runserver` with "grip_consumers" in INSTALLED_APPS needs neither: it brings a proxy along.
"""
