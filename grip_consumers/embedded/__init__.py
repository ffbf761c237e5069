"""A GRIP proxy inside the ASGI process, for development and tests; Pushpin or Fastly Fanout in production.

`EmbeddedProxy` wraps the project's ASGI application. It holds the WebSocket connections and the HTTP responses that
ask for it, and talks to the wrapped application as Pushpin would: one WebSocket-over-HTTP request at a time for each
connection, published items by `POST /.grip/publish/`. Everything lives in this one process, so it neither scales nor
survives a restart.

    connection.py   one client connection without I/O: what to send next, what a response means
    passage.py      one HTTP request of a client: passed on, and held if the response asks for it (`Grip-Hold`)
    hub.py          channels and their subscribers; publishing
    control.py      the publish endpoint
    proxy.py        the ASGI side of it all
"""

from .proxy import EmbeddedProxy

__all__ = ["EmbeddedProxy"]
