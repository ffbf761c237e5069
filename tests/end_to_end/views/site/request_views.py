"""A REST resource, for HTTP and for messages alike; and views of other kinds."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth import login
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import View
from django.views.decorators.csrf import ensure_csrf_cookie
from rest_framework import serializers, viewsets
from rest_framework.permissions import IsAuthenticatedOrReadOnly

from grip_consumers.layers import get_channel_layer


class TeamSerializer(serializers.ModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ("name",)


class TeamViewSet(viewsets.ModelViewSet[Group]):
    """Teams by name. Whoever lists them by a message hears of new ones."""

    serializer_class = TeamSerializer
    permission_classes = (IsAuthenticatedOrReadOnly,)
    lookup_field = "name"

    def get_queryset(self) -> Any:
        return Group.objects.filter(name__startswith=self.kwargs["way"]).order_by("name")

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        connection = getattr(request, "connection", None)
        if connection is not None:
            connection.group_add(f"teams-{self.kwargs['way']}")
        return super().list(request, *args, **kwargs)

    def perform_create(self, serializer: Any) -> None:
        team = serializer.save()
        event = {"type": "view.event", "created": team.name}
        async_to_sync(get_channel_layer().group_send)(f"teams-{self.kwargs['way']}", event)


@ensure_csrf_cookie
def enter(request: HttpRequest, name: str) -> HttpResponse:
    """Log a user of this name in."""
    user, _ = User.objects.get_or_create(username=name)
    login(request, user)
    return HttpResponse("entered")


class Who(View):
    async def get(self, request: Any) -> JsonResponse:
        return JsonResponse({"user": str(await request.auser())})


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse("x" * int(request.GET["size"]), content_type="text/plain")


def broken(request: HttpRequest) -> HttpResponse:
    raise ValueError("a view that fails")
