"""The decorators of WebSocket views, where django-websocket has them."""

from grip_consumers.views.websocket import accept_websocket, require_websocket

__all__ = ["accept_websocket", "require_websocket"]
