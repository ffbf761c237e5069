"""Django Channels consumers with no connection in Python.

A GRIP proxy holds the sockets; each burst of frames reaches the consumer as one HTTP request. Importing this
package imports nothing else: the names of the public modules are those of `channels`.
"""

__version__ = "0.1.0"

#: The alias of the channel layer that consumers use unless they name another (channels.DEFAULT_CHANNEL_LAYER).
DEFAULT_CHANNEL_LAYER = "default"


def __getattr__(name: str) -> object:
    """The view-style names, imported when they are asked for."""
    if name == "GripMiddleware":
        from grip_consumers.views import GripMiddleware

        return GripMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
