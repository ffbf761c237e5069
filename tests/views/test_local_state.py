"""What the scan of WebSocket views reports, and what it lets pass."""

from __future__ import annotations

import importlib.util
import textwrap
from typing import get_args

import pytest
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View

from grip_consumers import checks
from grip_consumers.views import local_state
from grip_consumers.views.websocket import accept_websocket, require_websocket

#: The body of a view → the kinds of what is found, with the names.
FOUND = {
    "a counter": (
        """
        count = 0
        for message in request.websocket:
            count += 1
            request.websocket.send(count)
        """,
        ["carried count"],
    ),
    "a list that grows, read after the loop": (
        """
        lines = []
        for line in request.websocket:
            lines.append(line)
        save(lines)
        """,
        ["carried lines"],
    ),
    "a dictionary behind another name of the socket": (
        """
        ws, seen = request.websocket, dict()
        ws = request.websocket
        seen = {}
        for name in ws:
            seen[name]["count"] = 1
        """,
        ["carried seen"],
    ),
    "the message before": (
        """
        before = None
        while True:
            message = request.websocket.wait()
            if message is None:
                break
            request.websocket.send(before or "")
            before = message
        """,
        ["carried before"],
    ),
    "the last message, read after the loop": (
        """
        last = None
        for message in request.websocket:
            last = message
        save(last)
        """,
        ["carried last"],
    ),
    "a name that only some messages set": (
        """
        for message in request.websocket:
            if message.startswith("name:"):
                name = message[5:]
                continue
            request.websocket.send(name)
        """,
        ["carried name"],
    ),
    "a name that an error may leave unset": (
        """
        for message in request.websocket:
            try:
                data = json.loads(message)
            except ValueError:
                pass
            request.websocket.send(data)
        """,
        ["carried data"],
    ),
    "numbered messages": (
        """
        for number, message in enumerate(request.websocket):
            request.websocket.send(f"{number}: {message}")
        """,
        ["carried number"],
    ),
    "numbers beside messages": (
        """
        for message, number in zip(request.websocket, count()):
            request.websocket.send(number)
        """,
        ["carried number"],
    ),
    "two names at once": (
        """
        first = last = None
        for message in request.websocket:
            first = first or message
            last = message if last is None else last
        """,
        ["carried first last"],
    ),
    "a greeting before a loop": (
        """
        name = request.websocket.wait()
        for message in request.websocket:
            request.websocket.send(name + message)
        """,
        ["waits"],
    ),
    "two waits": (
        """
        ws = request.websocket
        try:
            one = ws.wait()
            two = ws.wait()
        finally:
            done()
        """,
        ["waits"],
    ),
    "two waits in one statement": (
        """
        ws = request.websocket
        ws.send(ws.wait() + ws.wait())
        """,
        ["waits"],
    ),
    "a loop that is broken off before another": (
        """
        ws = request.websocket
        for message in ws:
            if message == "start":
                break
        for message in ws:
            ws.send(message)
        """,
        ["waits"],
    ),
    "polling": (
        """
        ws = request.websocket
        while not ws.closed:
            message = ws.read()
            if message:
                ws.send(message)
        """,
        ["polls"],
    ),
    "a loop until there are messages": (
        """
        while not request.websocket.has_messages():
            sleep(1)
        """,
        ["polls"],
    ),
    "a loop that is left when there are messages": (
        """
        while True:
            if request.websocket.has_messages():
                break
        """,
        ["polls"],
    ),
    "a state that begins anew": (
        """
        state = request.websocket.state
        state["count"] = 0
        for message in request.websocket:
            state["count"] += 1
        """,
        ["resets 'count'"],
    ),
    "a state without another name": (
        """
        request.websocket.state["lines"] = []
        while (line := request.websocket.wait()) is not None:
            request.websocket.state["lines"] = [*request.websocket.state["lines"], line]
        """,
        ["resets 'lines'"],
    ),
    "two steps of an iterator": (
        """
        messages = iter(request.websocket)
        name = next(messages)
        age = next(messages)
        """,
        ["waits"],
    ),
    "a transaction around the loop": (
        """
        with transaction.atomic():
            for message in request.websocket:
                save(message)
        """,
        ["atomic"],
    ),
    "a bare except": (
        """
        while True:
            try:
                message = request.websocket.wait()
            except:
                continue
        """,
        ["swallows"],
    ),
    "one of several that catches everything": (
        """
        ws = request.websocket
        try:
            ws.send(ws.wait())
        except ValueError:
            ws.send("no")
        except (KeyError, BaseException):
            ws.close()
        """,
        ["swallows", "cleans"],
    ),
    "closing at last": (
        """
        ws = request.websocket
        try:
            for message in ws:
                ws.send(message)
        finally:
            ws.send("bye")
            ws.close()
        """,
        ["cleans", "cleans"],
    ),
    "closing()": (
        """
        with contextlib.closing(request.websocket) as ws:
            for message in request.websocket:
                save(message)
        """,
        ["cleans"],
    ),
}  # fmt: skip

NOT_FOUND = {
    "an echo": "for message in request.websocket: request.websocket.send(message)",
    "state": """
        state = request.websocket.state
        for message in request.websocket:
            state["count"] = state.get("count", 0) + 1
            request.websocket.send(state["count"])
        """,
    "what each run makes anew": """
        name, options = request.user.name, {"loud": True}
        for message in request.websocket:
            request.websocket.send(name + message if options["loud"] else message)
        """,
    "names of one turn": """
        for message in request.websocket:
            try:
                data = json.loads(message)
            except ValueError as error:
                request.websocket.send(str(error))
                continue
            else:
                size = len(data)
            finally:
                done()
            total, parts = 0, sorted(part for part in data)
            for part in parts:
                total += part
                biggest = max(biggest, part) if total else part
            with suppress(KeyError):
                found = data["found"]
            match data:
                case {"kind": kind, **rest}:
                    answer = kind, rest
                case [first, *others]:
                    answer = first, others
                case _:
                    answer = None
            if size > 3:
                text = "long"
            else:
                text = "short"
            request.websocket.send((text, found, answer, [total * x for x in data], (lambda y: y + total)(1)))
        """.replace("max(biggest, part) if total else part", "part"),
    "waiting in the condition": """
        while (message := request.websocket.wait()) is not None:
            request.websocket.send(message)
        """,
    "one wait": "request.websocket.send(request.websocket.wait())",
    "a wait in either branch": """
        ws = request.websocket
        if request.GET:
            message = ws.wait()
        else:
            message = ws.wait()
        ws.send(message)
        """,
    "a branch that returns": """
        ws = request.websocket
        if request.GET:
            ws.send(ws.wait())
            return
        for message in ws:
            ws.send(message)
        """,
    "a drain": """
        ws = request.websocket
        while ws.has_messages():
            ws.send(ws.read())
        while True:
            message = ws.read()
            if message is None:
                break
        """,
    "other loops": """
        count, names = 0, []
        for word in request.GET:
            count += 1
            names.append(word)
        while count < 3:
            count = count + 1
        """,
    "a global": """
        global total
        for message in request.websocket:
            total = total + 1
        """,
    "a state that begins once": """
        state = request.websocket.state
        if "count" not in state:
            state["count"] = 0
        state["seen"] = now()
        state["mode"] = "loud"
        for message in request.websocket:
            state["count"] += 1
            request.websocket.send(state["mode"])
        """,
    "what is around one message": """
        for message in request.websocket:
            with transaction.atomic(), closing(file):
                save(message)
            try:
                request.websocket.send(message)
            except:
                request.websocket.close()
            finally:
                request.websocket.send("done")
        """,
    "handlers of errors around a wait": """
        try:
            for message in request.websocket:
                request.websocket.send(message)
        except ValueError:
            request.websocket.send("no")
        except BaseException:
            log()
            raise
        finally:
            done()
        """,
    "a drain that looks first": """
        ws = request.websocket
        while True:
            if not ws.has_messages():
                break
            ws.send(ws.read())
        """,
    "another's socket": """
        count = 0
        for message in request.queue:
            count += 1
        """,
}


@pytest.fixture
def view(tmp_path):
    """Write a view with a body and import it."""

    def make(body: str, head: str = "def view(request):"):
        file = tmp_path / "written.py"
        file.write_text(head + "\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n")
        spec = importlib.util.spec_from_file_location("written", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.view

    return make


def told(found):
    return [" ".join([finding.kind, *finding.names]) for finding in found]


@pytest.mark.parametrize(("body", "expected"), FOUND.values(), ids=FOUND.keys())
def test_what_is_lost_between_two_batches_is_found(view, body, expected):
    assert told(local_state.lost_in(view(body))) == expected


@pytest.mark.parametrize("body", NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_what_a_run_makes_for_itself_is_not(view, body):
    assert told(local_state.lost_in(view(body))) == []


def test_asynchronous_views_are_read_too(view):
    body = """
        count = 0
        async for message in request.websocket:
            count += 1
            await request.websocket.send(count)
        last = await request.websocket.wait()
        """
    assert told(local_state.lost_in(view(body, "async def view(request):"))) == ["carried count"]


def test_a_finding_says_where(view):
    body = "count = 0\nfor message in request.websocket:\n    count += 1"
    function = view(body, "import json\n\n\ndef view(request):")
    [finding] = local_state.lost_in(function)
    assert (finding.view, finding.line) == ("written.view", 6)
    assert finding.file.endswith("written.py")


@pytest.mark.parametrize("function", [len, View.as_view, lambda request: None, View])
def test_what_has_no_source_to_read_is_left_alone(function):
    assert local_state.lost_in(function) == []


@accept_websocket
def counts(request):
    count = 0
    for _ in request.websocket:
        count += 2


def plain(request):
    count = 0
    for _ in request.websocket:
        count += 2


@method_decorator(accept_websocket, name="get")
class Misplaced(View):
    def get(self, request):
        pass


@method_decorator(require_websocket, name="dispatch")
class Counts(View):
    def get(self, request):
        self.talk()

    def talk(self):
        lines = []
        for line in self.request.websocket:
            lines += [line]


urlpatterns = [
    path("", counts),
    path("again", counts),
    path("misplaced/", Misplaced.as_view()),
    path("nested/", include([path("class", Counts.as_view()), path("plain", plain)])),
]


@pytest.mark.parametrize(
    ("accept_all", "names"),
    [
        (False, ["counts", "Counts.talk", "Misplaced.get"]),
        (True, ["counts", "Counts.talk", "plain", "Misplaced.get"]),
    ],
)
def test_the_check_reads_each_websocket_view_of_the_urlconf_once(settings, accept_all, names):
    settings.ROOT_URLCONF = __name__
    settings.WEBSOCKET_ACCEPT_ALL = accept_all
    messages = checks.check_websocket_views(None)
    assert {message.id for message in messages} == {"grip_consumers.W010"}
    assert [message.msg.split(": ")[1].split()[0].removeprefix(f"{__name__}.") for message in messages] == names
    assert f"{__file__}:" in messages[0].msg
    assert "count." in messages[0].msg
    assert "request.websocket.state" in messages[0].hint
    assert messages[-1].msg.startswith(f"{__file__}:")
    assert "dispatch" in messages[-1].hint


def test_a_project_without_urls_has_nothing_to_check(settings):
    settings.ROOT_URLCONF = None
    assert checks.check_websocket_views(None) == []


def test_each_kind_of_finding_is_told_with_advice():
    assert set(checks._LOST) == set(get_args(local_state.Kind))
