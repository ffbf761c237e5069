"""The tasks: a REST resource of plain Django views, which a page asks for over one WebSocket.

The same paths answer over HTTP. Over the socket, asking for the list joins the connection to the group of those that
are told of every change.
"""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views import View
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET

from grip_consumers.layers import get_channel_layer
from sample_site.live import news
from sample_site.live.models import Task

GROUP = "tasks"


@require_GET
@ensure_csrf_cookie  # for those who ask over HTTP
def page(request: HttpRequest) -> HttpResponse:
    """The page; its list comes over the socket."""
    return render(request, "live/tasks.html")


class TaskList(View):
    """All tasks, and new ones."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """Answer with every task; over a socket, tell of changes from now on."""
        connection = getattr(request, "connection", None)
        if connection is not None:
            # Before the list is read: a change in between comes twice, which its version tells, and never not at all.
            connection.group_add(GROUP)
        return JsonResponse({"tasks": [task.as_dict() for task in Task.objects.all()]})

    def post(self, request: HttpRequest) -> JsonResponse:
        """Make a task of `{"title": …}`."""
        try:
            task = Task(title=title_in(sent(request)))
        except ValueError as error:
            return refusal(error)
        task.save()
        tell("saved", task.as_dict(), f"To do: {task}")
        return JsonResponse(task.as_dict(), status=201)


class TaskDetail(View):
    """One task."""

    def patch(self, request: HttpRequest, pk: int) -> JsonResponse:
        """Change the title, or whether it is done: `{"title": …, "done": …}`, each optional."""
        try:
            changes = changes_in(sent(request))
        except ValueError as error:
            return refusal(error)
        with transaction.atomic():
            task = get_object_or_404(Task.objects.select_for_update(), pk=pk)
            for name, value in changes.items():
                setattr(task, name, value)
            task.version += 1
            task.save()
        tell("saved", task.as_dict(), f"{'Done' if task.done else 'To do'}: {task}")
        return JsonResponse(task.as_dict())

    def delete(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Forget the task."""
        task = get_object_or_404(Task, pk=pk)
        gone = task.as_dict()
        task.delete()
        tell("deleted", gone, f"No longer to do: {task}")
        return HttpResponse(status=204)


def sent(request: HttpRequest) -> dict[str, Any]:
    """The JSON object in a request's body, or ValueError that says what is wrong."""
    try:
        data = json.loads(request.body)
    except ValueError:
        raise ValueError("Expected a body in JSON.") from None
    if not isinstance(data, dict):
        raise ValueError("Expected a JSON object.")
    return data


def title_in(data: dict[str, Any]) -> str:
    """The title of a task, or ValueError."""
    title = data.get("title")
    title = title.strip() if isinstance(title, str) else ""
    if not 0 < len(title) <= 120:
        raise ValueError("Expected a title of 1 to 120 characters.")
    return title


def changes_in(data: dict[str, Any]) -> dict[str, Any]:
    """What is to be changed in a task, or ValueError."""
    changes: dict[str, Any] = {"title": title_in(data)} if "title" in data else {}
    if "done" in data:
        if not isinstance(data["done"], bool):
            raise ValueError("Expected done to be true or false.")
        changes["done"] = data["done"]
    return changes


def refusal(error: ValueError) -> JsonResponse:
    """A 400 that says why."""
    return JsonResponse({"error": str(error)}, status=400)


def tell(change: str, task: dict[str, Any], line: str) -> None:
    """Tell the sockets that asked for the list, and the dashboard."""
    event = {"type": "view.event", "change": change, "task": task}
    async_to_sync(get_channel_layer().group_send)(GROUP, event)
    news.tell("task", line)
