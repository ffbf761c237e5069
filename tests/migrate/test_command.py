"""The command on whole projects: what it shows, what it writes, what it returns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grip_consumers.migrate import command, project, writing
from grip_consumers.migrate.command import main
from grip_consumers.migrate.output import Output
from tests.parity import project as parity

from .sources import PROJECTS, copy

NAMES = ["hostile", "rooms", "tutorial"]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_the_diff_and_the_report_of_a_project(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy(name, tmp_path)
    before = contents(folder)
    assert main([name]) == (2 if name == "hostile" else 1)
    shown = capsys.readouterr()
    assert shown.out == (PROJECTS / name / "expected.diff").read_text()
    assert shown.err == (PROJECTS / name / "expected.report").read_text()
    assert contents(folder) == before


@pytest.mark.parametrize("name", NAMES)
def test_patch_makes_of_the_diff_what_write_makes(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patched, written = copy(name, tmp_path / "patched"), copy(name, tmp_path / "written")
    os.chdir(tmp_path / "patched")
    main([name])
    diff = capsys.readouterr().out
    subprocess.run(["git", "apply", "-p1", "-"], input=diff, text=True, check=True, cwd=tmp_path / "patched")
    os.chdir(tmp_path / "written")
    main([name, "--write"])
    assert contents(patched) == contents(written)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_changes_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy(name, tmp_path)
    main([name, "--write"])
    after = contents(folder)
    capsys.readouterr()
    main([name])
    assert capsys.readouterr().out == ""
    main([name, "--write"])
    assert capsys.readouterr().out == ""
    assert contents(folder) == after


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_python(name: str, tmp_path: Path) -> None:
    folder = copy(name, tmp_path)
    main([name, "--write"])
    for file in folder.rglob("*.py"):
        if file.name != "broken.py":
            compile(file.read_bytes(), file, "exec")


def test_the_migrated_tutorial_passes_the_checks_without_channels(tmp_path: Path) -> None:
    folder = copy("tutorial", tmp_path)
    settings = folder / "mysite" / "settings.py"
    # Of Django's own apps only those that need no templates.
    settings.write_text(settings.read_text().replace("    'django.contrib.admin',\n", ""))
    main(["tutorial", "--write"])
    code = (
        "import sys; sys.modules['channels'] = sys.modules['daphne'] = None; import mysite.asgi;"
        "from django.core.management import call_command; call_command('check');"
        "from django.conf import settings; from grip_consumers.layers import get_channel_layer;"
        "print(type(get_channel_layer()).__name__, settings.MIDDLEWARE[0])"
    )
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder, env=env)
    assert run.stdout.splitlines()[-1:] == ["GripChannelLayer grip_consumers.GripMiddleware"], run.stderr


def test_the_parity_site_becomes_what_its_behaviours_are_shown_on(tmp_path: Path) -> None:
    migrated, promised = parity.original(tmp_path / "migrated"), parity.migrated(tmp_path / "promised")
    assert main([str(migrated), "--write"]) == 0
    assert set(differing(migrated, promised)) <= {"settings.py"}
    settings = (migrated / parity.PACKAGE / "settings.py").read_text()
    layers = 'CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}\n'
    assert layers in settings
    promise = (promised / parity.PACKAGE / "settings.py").read_text().removesuffix(parity.DEPLOYMENT)
    assert settings.replace(layers, "") == promise.replace(layers, "")


def differing(one: Path, other: Path) -> Iterator[str]:
    ours, theirs = contents(one), contents(other)
    assert ours.keys() == theirs.keys()
    # The site's own text about the migration names both.
    skipped = f"{parity.PACKAGE}/__init__.py"
    return (Path(name).name for name in ours if ours[name] != theirs[name] and name != skipped)


def write(name: str, text: str | bytes) -> Path:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


IMPORT = "import channels.db\n"


def test_nothing_to_do_is_success(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py", "import json\n")
    assert main(["."]) == 0
    assert capsys.readouterr() == ("", "0 files would change, 0 reported, no errors\n")


def test_what_is_written_completely_is_success(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py", IMPORT)
    assert main(["."]) == 1
    assert main([".", "--write"]) == 0
    assert "changed a.py\n" in capsys.readouterr().out


def test_what_is_left_to_the_reader_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py", "from daphne import server\n")
    assert main([".", "--write"]) == 1
    assert "a.py:1: daphne: " in capsys.readouterr().err


def test_a_faulty_file_stays_and_the_others_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    faulty = {
        "syntax.py": b"import channels\nx = (\n",
        "bytes.py": b"import channels\nx = '\xe9'\n",
        "deep.py": f"import channels\nx = {'+'.join('a' * 900)}\n".encode(),
    }
    for name, data in faulty.items():
        write(name, data)
    write("a.py", IMPORT)
    assert main([".", "--write"]) == 2
    errors = capsys.readouterr().err
    assert all(f"{name}: error: " in errors for name in faulty)
    assert {name: Path(name).read_bytes() for name in faulty} == faulty
    assert Path("a.py").read_text() == "import grip_consumers.db\n"


def test_a_faulty_file_without_channels_is_nobodys_business() -> None:
    write("template.py", "{{ cookiecutter }}\n")
    assert main(["."]) == 0


def test_a_file_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.py", IMPORT)
    write("b.py", IMPORT)
    monkeypatch.setattr(writing, "replace", refusing("a.py", PermissionError("not permitted")))
    assert main([".", "--write"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "changed b.py\n"
    assert "a.py: error: not permitted\n1 file changed" in shown.err


def refusing(name: str, error: OSError) -> Callable[[Path, bytes, bytes], None]:
    """A replacement of files that fails for one of them."""
    replace = writing.replace

    def refuse(file: Path, old: bytes, new: bytes) -> None:
        if file.name == name:
            raise error
        replace(file, old, new)

    return refuse


def test_a_file_that_was_edited_meanwhile_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, plan = write("a.py", IMPORT), project.migrate

    def edit(*arguments: Any) -> Any:
        file.write_text("edited")
        return plan(*arguments)

    monkeypatch.setattr(project, "migrate", edit)
    assert main([".", "--write"]) == 2
    assert file.read_text() == "edited"
    assert "a.py: error: changed meanwhile" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.py", "requirements.txt"])
def test_a_file_that_cannot_be_read_is_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(name, IMPORT)
    write("b.py", IMPORT)
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert main([".", "--write"]) == 2
    monkeypatch.undo()
    assert f"{name}: error: permission denied\n" in capsys.readouterr().err
    assert Path("b.py").read_text() == "import grip_consumers.db\n"


@pytest.mark.parametrize("coding", ["rot13", "undefined", "punycode", "nonsense"])
def test_a_file_in_no_encoding_is_an_error(coding: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py", f"# coding: {coding}\n{IMPORT}")
    write("b.py", IMPORT)
    assert main([".", "--write"]) == 2
    assert re.search(f"^a.py: error: .*{coding}", capsys.readouterr().err, re.MULTILINE)
    assert Path("b.py").read_text() == "import grip_consumers.db\n"


def test_a_folder_that_cannot_be_read_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.py", IMPORT)
    write("closed/b.py", IMPORT)
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert main([".", "--write"]) == 2
    assert capsys.readouterr().err.count("closed: error: permission denied; --exclude leaves it out") == 1
    assert Path("a.py").read_text() == "import grip_consumers.db\n"
    assert main([".", "--write", "--exclude", "closed"]) == 0


def test_a_pipe_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("a.py")
    assert main(["."]) == 0
    assert main(["a.py"]) == 2
    assert "a.py: error: is no regular file" in capsys.readouterr().err


def in_process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    package = str(Path(command.__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": package, **options.pop("env", {})}
    line = [sys.executable, "-m", "grip_consumers.migrate", *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **options)


def test_all_is_written_though_nobody_reads_the_output() -> None:
    files = [write(f"{number}.py", IMPORT) for number in range(9)]
    process = in_process(".", "--write")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == "9 files changed, 0 reported, no errors\n"
    process.stderr.close()
    assert process.wait() == 0
    assert {file.read_text() for file in files} == {"import grip_consumers.db\n"}


def test_names_that_the_output_cannot_show_are_escaped() -> None:
    names = ["a.py", "é.py", "z.py"]
    for name in names:
        write(name, IMPORT)
    process = in_process(".", "--write", env={"PYTHONIOENCODING": "ascii"})
    assert process.communicate() == (
        "changed a.py\nchanged z.py\nchanged \\xe9.py\n",
        "3 files changed, 0 reported, no errors\n",
    )
    assert {Path(name).read_text() for name in names} == {"import grip_consumers.db\n"}


def test_everything_is_written_before_anything_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    files, seen = [write(name, IMPORT) for name in ("a.py", "b.py")], []
    monkeypatch.setattr(Output, "show_line", lambda *_: seen.append([file.read_text() for file in files]))
    main([".", "--write"])
    assert seen == [["import grip_consumers.db\n"] * 2] * 2


@pytest.mark.parametrize("paths", [[".", "a.py"], ["a.py", "../{here}/a.py"], [".", "."]])
def test_paths_may_overlap(paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.py", IMPORT)
    write("requirements.txt", "channels\n")
    assert main([path.format(here=tmp_path.name) for path in paths]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("+++") == 1
    assert shown.err.count("requirements.txt") == (0 if paths[0] == "a.py" else 1)


def test_a_diff_is_of_paths_as_seen_from_the_working_folder(capsys: pytest.CaptureFixture[str]) -> None:
    file = write("one/a.py", IMPORT)
    write("two/b.py", "")
    main(["two/../one"])
    subprocess.run(["git", "apply", "-p1", "-"], input=capsys.readouterr().out, text=True, check=True)
    assert file.read_text() == "import grip_consumers.db\n"


def test_it_is_said_if_a_diff_cannot_be_applied_where_the_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    write("one/a.py", IMPORT)
    Path("two").mkdir()
    os.chdir("two")
    main(["../one"])
    assert "outside of the working folder" in capsys.readouterr().err
    main(["../one", "--write"])
    assert "outside of the working folder" not in capsys.readouterr().err


def test_files_keep_the_names_by_which_others_reach_their_imports() -> None:
    write("app/compat.py", "import channels.layers\n")
    write("app/views.py", "from .compat import channels\nx = channels.layers.get_channel_layer\n")
    assert main([".", "--write"]) == 0
    code = "import app.views; print(app.views.x.__module__)"
    env = {**os.environ, "PYTHONPATH": str(Path(command.__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert run.stdout.startswith("grip_consumers.layers"), run.stderr


def test_a_path_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"]) == 2
    assert "nowhere: error: does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("root", [".", "src"])
def test_a_project_with_a_package_called_channels_is_refused(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(f"{root}/channels/__init__.py", "")
    file = write(f"{root}/a.py", IMPORT)
    assert main([".", "--write"]) == 2
    assert file.read_text() == IMPORT
    assert "this project's own `channels`" in capsys.readouterr().err


def test_what_is_ignored_is_not_reported() -> None:
    write("a.py", "from daphne import server\n")
    assert main([".", "--ignore", "W022,daphne"]) == 0


def test_an_unknown_rule_cannot_be_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([".", "--ignore", "W999"])
    assert stop.value.code == 2
    assert "no rule is called W999" in capsys.readouterr().err


def test_lines_of_the_report_are_those_of_the_file_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    write("settings.py", 'INSTALLED_APPS = ["channels"]\nMIDDLEWARE = [\n    "a.B",\n]\nfrom daphne import server\n')
    main(["."])
    assert "settings.py:5: daphne" in capsys.readouterr().err
    main([".", "--write"])
    assert "settings.py:6: daphne" in capsys.readouterr().err


def test_a_file_without_a_last_line_feed_makes_a_diff_that_applies(capsys: pytest.CaptureFixture[str]) -> None:
    file = write("a.py", "x = 1\nimport channels")
    main(["."])
    diff = capsys.readouterr().out
    subprocess.run(["git", "apply", "-p1", "-"], input=diff, text=True, check=True)
    assert file.read_text() == "x = 1\nimport grip_consumers"


def test_the_diff_of_a_file_in_latin_1_applies(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    start = b"# coding: latin-1\nx = '\xe9'\n"
    file = write("a.py", start + b"import channels\n")
    main(["."])
    subprocess.run(["git", "apply", "-p1", "-"], input=capsysbinary.readouterr().out, check=True)
    assert file.read_bytes() == start + b"import grip_consumers\n"


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"# coding: latin-1\r\nx = '\xe9'\r\n"])
def test_encoding_mark_and_line_endings_are_kept(start: bytes) -> None:
    file = write("a.py", start + b"import channels\r\ny = 1\n")
    main([".", "--write"])
    assert file.read_bytes() == start + b"import grip_consumers\r\ny = 1\n"


def test_consumers_are_searched_for_what_will_not_work(capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "import asyncio\nfrom channels.generic.websocket import AsyncWebsocketConsumer\n\n\n"
        "class Clock(AsyncWebsocketConsumer):\n    async def connect(self):\n        await self.accept()\n"
        "        while True:\n            await asyncio.sleep(1)\n"
    )
    write("clock.py", text)
    assert main([".", "--write"]) == 1
    error = capsys.readouterr().err
    assert "clock.py:9: Clock.connect" in error or "clock.py:8: Clock.connect" in error
    assert "(grip_consumers.W022)" in error
    assert main([".", "--ignore", "W022"]) == 0


def test_the_documentation_lists_every_kind_of_note() -> None:
    page = Path(__file__).parents[2] / "docs" / "migration.md"
    assert re.findall(r"^\| `([a-z-]+)` \|", page.read_text(), re.MULTILINE) == sorted(command.KINDS)


def test_every_kind_of_note_is_known() -> None:
    sources = Path(command.__file__).parent.glob("*.py")
    written = {
        kind for file in sources for kind in re.findall(r'(?:\.note\(|Note\()[^"]*?"([a-z-]+)"', file.read_text())
    }
    assert written == set(command.KINDS)
