"""Notes each batch without events in a file, if the environment names one: a proxy's callback for one member.

One line per callback, the connection's query string. Lines of several processes do not mix: each is one write to a
file that is opened for appending.
"""

from __future__ import annotations

import os
from typing import Any

CONTENT_TYPE = "application/websocket-events"


def note(content_type: str, content_length: str, query: str) -> None:
    path = os.environ.get("SWARM_CALLBACKS")
    if path and content_type == CONTENT_TYPE and content_length in {"", "0"}:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{query}\n".encode())
        finally:
            os.close(file)


def noting_asgi(application: Any) -> Any:
    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name: value.decode() for name, value in scope["headers"]}
            length = headers.get(b"content-length", "")
            note(headers.get(b"content-type", ""), length, scope["query_string"].decode())
        await application(scope, receive, send)

    return noting


def noting_wsgi(application: Any) -> Any:
    def noting(environ: dict[str, Any], start_response: Any) -> Any:
        length = environ.get("CONTENT_LENGTH", "")
        note(environ.get("CONTENT_TYPE", ""), length, environ.get("QUERY_STRING", ""))
        return application(environ, start_response)

    return noting
