"""The package as a whole: what it exports, and what it does without."""

from __future__ import annotations

import subprocess
import sys

from grip_consumers import protocol

ALONE = """
import sys
for name in ("django", "channels", "asgiref", "gripcontrol", "urllib3", "msgpack"):
    sys.modules[name] = None
import grip_consumers.protocol as protocol
exchange = protocol.Exchange(protocol.decode(b"OPEN\\r\\n"))
exchange.accept()
sys.stdout.buffer.write(exchange.response().body)
"""

SILENT = """
import sys, socket, threading, time
def refuse(*arguments):
    raise RuntimeError("not at import")
socket.socket.connect = threading.Thread.start = refuse
import grip_consumers.protocol
"""


def test_it_works_with_django_blocked():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (b"OPEN\r\n", b"")


def test_importing_it_starts_and_connects_nothing():
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_exported_name_exists_once():
    assert sorted(set(protocol.__all__)) == sorted(protocol.__all__)
    assert [name for name in protocol.__all__ if not hasattr(protocol, name)] == []


def test_the_names_that_others_build_on_are_there():
    events = {"Event", "Open", "Text", "Binary", "Ping", "Pong", "Close", "Disconnect"}
    codec = {"decode", "Decoder", "encode", "CONTENT_TYPE", "is_batch"}
    exchange = {"State", "Exchange", "Response", "ProtocolError", "LocalProtocolError", "RemoteProtocolError"}
    items = {"Item", "TextMessage", "BinaryMessage", "CloseAction", "RefreshAction", "encode_publish"}
    assert events | codec | exchange | items | {"Key", "Verifier"} <= set(protocol.__all__)
