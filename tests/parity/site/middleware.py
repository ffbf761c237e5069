"""Middleware as projects write it: one fills the scope, others stand between server and consumer."""

from channels.middleware import BaseMiddleware

from .journal import note


class TenantMiddleware(BaseMiddleware):
    """Puts something into the scope, once per connection."""

    async def __call__(self, scope, receive, send):
        headers = dict(scope["headers"])
        scope = dict(scope, tenant=headers.get(b"x-tenant", b"nobody").decode())
        note(scope, "middleware", scope["tenant"])
        return await super().__call__(scope, receive, send)


class UpperMiddleware:
    """Changes what the consumer sends."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        async def upper(message):
            if message["type"] == "websocket.send" and message.get("text") is not None:
                message = {**message, "text": message["text"].upper()}
            await send(message)

        return await self.inner(scope, receive, upper)


def strip_middleware(inner):
    """Changes what the consumer receives, written as a function."""

    async def application(scope, receive, send):
        async def stripped():
            message = await receive()
            if message["type"] == "websocket.receive" and message.get("text") is not None:
                message = {**message, "text": message["text"].strip()}
            return message

        return await inner(scope, stripped, send)

    return application


class CatchErrorsMiddleware:
    """Turns an exception of the consumer into a close code."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        try:
            return await self.inner(scope, receive, send)
        except LookupError:
            note(scope, "caught")
            await send({"type": "websocket.close", "code": 4404})


class TokenMiddleware(BaseMiddleware):
    """Refuses connections itself, without asking the consumer."""

    async def __call__(self, scope, receive, send):
        if dict(scope["headers"]).get(b"x-secret") != b"sesame":
            await send({"type": "websocket.close", "code": 4401})
            return None
        return await super().__call__(scope, receive, send)
