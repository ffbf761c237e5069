from __future__ import annotations

import ctypes
import functools
import http.server
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from grip_consumers.testing.processes import (
    ServerProcess,
    answers,
    free_block,
    free_port,
    running,
    wait_until,
)


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A child that nobody has waited for yet is dead all the same.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]


def test_waiting_returns_as_soon_as_the_condition_holds() -> None:
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() - begin > 0.05, timeout=5)
    assert time.monotonic() - begin < 1


def test_waiting_in_vain_says_so_with_the_latest_message() -> None:
    with pytest.raises(TimeoutError, match=r"Waited 0\.05 s in vain\. still 3"):
        wait_until(lambda: False, timeout=0.05, message=lambda: "still 3")


def test_a_free_block_can_be_bound_in_full() -> None:
    first = free_block(4)
    sockets = [socket.create_server(("127.0.0.1", port)) for port in range(first, first + 4)]
    for each in sockets:
        each.close()


def test_a_taken_port_is_not_called_free(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr("grip_consumers.testing.processes.random.SystemRandom.randrange", lambda *_: port)
    assert free_port() == port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(OSError, match="Found no 1 consecutive free ports"),
    ):
        free_port()


def test_an_answer_is_a_status_and_silence_is_none() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        assert answers(server.server_port, method="PUT") == 501
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert answers(server.server_port, timeout=0.5) is None


def test_a_running_server_is_ready_when_it_says_so_and_ended_on_the_way_out() -> None:
    code = "import time; print('ready'); time.sleep(60)"
    with running(python(code), ready=lambda process: "ready" in process.log()) as process:
        assert process.returncode is None
        pid = process.pid
    assert not alive(pid)
    assert process.returncode == -signal.SIGTERM


def test_a_server_that_ends_before_it_is_ready_is_an_error_with_its_output() -> None:
    with (
        pytest.raises(RuntimeError, match=r"(?s)ended with code 3 while waiting for readiness.*no such port"),
        running(python("print('no such port'); raise SystemExit(3)"), ready=lambda process: False),
    ):
        pass


def test_a_server_that_is_never_ready_is_ended() -> None:
    started: list[ServerProcess] = []
    with (
        pytest.raises(TimeoutError),
        running(python("import time; time.sleep(60)"), ready=lambda process: started.append(process), timeout=0.1),
    ):
        pass
    assert not alive(started[0].pid)


def test_stopping_ends_children_and_what_ignores_a_request_to_end() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    child = f"{stubborn}print('child', flush=True); time.sleep(60)"
    start = f"c = subprocess.Popen([sys.executable, '-c', {child!r}])"
    code = f"import subprocess, sys, time; {start}; print('pid', c.pid); time.sleep(60)"
    with running(python(code), ready=lambda process: "child" in process.log()) as process:
        pid = int(process.log().split("pid ")[1].split()[0])
        assert alive(pid)
    assert not alive(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux lets a process adopt orphans")
def test_an_orphan_that_nobody_has_cleared_away_yet_does_not_hold_up_the_end() -> None:
    child = "import time; print('child', flush=True); time.sleep(60)"
    start = f"c = subprocess.Popen([sys.executable, '-c', {child!r}])"
    code = f"import subprocess, sys, time; {start}; print('pid', c.pid); time.sleep(60)"
    adopt_orphans = functools.partial(ctypes.CDLL(None).prctl, 36)
    adopt_orphans(1)
    try:
        with running(python(code), ready=lambda process: "child" in process.log()) as process:
            pid = int(process.log().split("pid ")[1].split()[0])
        assert Path(f"/proc/{pid}").exists()
        assert os.waitpid(pid, 0)[0] == pid
    finally:
        adopt_orphans(0)


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    process = ServerProcess(python("pass"), log_file=tmp_path / "log")
    assert process.wait() == 0
    process.stop()
    process.stop()
    assert process.returncode == 0


def test_an_interrupt_is_what_ctrl_c_sends() -> None:
    code = "import time\ntry: print('ready'); time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(7)"
    with running(python(code), ready=lambda process: "ready" in process.log()) as process:
        process.interrupt()
        assert process.wait() == 7
