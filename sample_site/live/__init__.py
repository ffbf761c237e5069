"""Live pages beside the chat: a dashboard over SSE, a counter by long-polling, a REST resource over a WebSocket.

One module each, `dashboard`, `counter` and `tasks`, says all that the server does for a page.
"""
