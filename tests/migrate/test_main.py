"""``python -m grip_consumers.migrate``"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from grip_consumers.migrate import __main__ as entry


def test_it_runs_as_a_module_without_settings_or_django(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import channels.layers\n")
    code = (
        "import sys, runpy; sys.modules['django'] = None; sys.argv[1:] = ['.']\n"
        "runpy.run_module('grip_consumers.migrate', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (run.returncode, "+import grip_consumers.layers" in run.stdout) == (1, True), run.stderr


def test_without_libcst_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "find_spec", lambda name: None)
    assert entry.run() == 2
    assert 'pip install "grip-consumers[migrate]"' in capsys.readouterr().err
