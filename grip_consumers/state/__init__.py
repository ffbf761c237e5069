"""One connection's state: captured after a batch, encoded with its types, sealed, restored before the next.

`capture` takes it off a consumer and its scope, `codec` turns values into bytes, `record` holds the parts
together, `seal` encrypts them for one connection, `store` decides between the proxy's header and a cache.
"""

from .capture import (
    FRAMEWORK_ATTRIBUTES,
    capture_attributes,
    capture_initkwargs,
    capture_scope,
    restore_attributes,
    restore_scope,
)
from .codec import CannotDecode, decode, encode
from .lazy import StoredLazyObject
from .record import ConnectionState, Inbox
from .store import Reference, delete, load, open_token, save, seal_state
from .table import CannotEncode

__all__ = [
    "FRAMEWORK_ATTRIBUTES",
    "CannotDecode",
    "CannotEncode",
    "ConnectionState",
    "Inbox",
    "Reference",
    "StoredLazyObject",
    "capture_attributes",
    "capture_initkwargs",
    "capture_scope",
    "decode",
    "delete",
    "encode",
    "load",
    "open_token",
    "restore_attributes",
    "restore_scope",
    "save",
    "seal_state",
]
