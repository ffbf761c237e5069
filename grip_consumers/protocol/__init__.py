"""WebSocket-over-HTTP and GRIP as values: bytes in, values out (sans-IO).

For whoever stands between an HTTP request and an application: decode the body, make an Exchange of the
events, let the application act on it, write its response. Nothing here knows Django, opens a socket, reads a
clock or a setting.

    events      what happens on a WebSocket, and its bytes
    exchange    one batch, its answer, and the states in between
    control     messages to the proxy inside the stream
    items       what is published to channels
    holds       what has the proxy hold an ordinary response open
    headers     names and rules of the headers
    signature   verification of Grip-Sig
    errors      whose fault it is
"""

from . import control, headers
from .control import CONTROL_MESSAGE_MAX, CONTROL_PREFIX, MESSAGE_PREFIX
from .errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from .events import (
    MAX_EVENTS,
    MAX_SIZE,
    Binary,
    Close,
    Decoder,
    Disconnect,
    Event,
    Open,
    Ping,
    Pong,
    Text,
    decode,
    encode,
)
from .exchange import REJECTION_BODY_MAX, RESPONSE_BODY_MAX, Exchange, Response, State
from .headers import CONTENT_TYPE, is_batch
from .holds import Channel, Hold, parse_last
from .items import (
    PUBLISH_MAX,
    BinaryMessage,
    CloseAction,
    HeldResponse,
    Item,
    Message,
    OtherMessage,
    PingMessage,
    RefreshAction,
    ResponseHint,
    StreamChunk,
    StreamClose,
    StreamHint,
    TextMessage,
    encode_publish,
)
from .signature import Key, Verifier

__all__ = [
    "CONTENT_TYPE",
    "CONTROL_MESSAGE_MAX",
    "CONTROL_PREFIX",
    "MAX_EVENTS",
    "MAX_SIZE",
    "MESSAGE_PREFIX",
    "PUBLISH_MAX",
    "REJECTION_BODY_MAX",
    "RESPONSE_BODY_MAX",
    "Binary",
    "BinaryMessage",
    "Channel",
    "Close",
    "CloseAction",
    "Decoder",
    "Disconnect",
    "Event",
    "Exchange",
    "HeldResponse",
    "Hold",
    "Item",
    "Key",
    "LocalProtocolError",
    "Message",
    "Open",
    "OtherMessage",
    "Ping",
    "PingMessage",
    "Pong",
    "ProtocolError",
    "RefreshAction",
    "RemoteProtocolError",
    "Response",
    "ResponseHint",
    "State",
    "StreamChunk",
    "StreamClose",
    "StreamHint",
    "Text",
    "TextMessage",
    "Verifier",
    "control",
    "decode",
    "encode",
    "encode_publish",
    "headers",
    "is_batch",
    "parse_last",
]
