"""Where the views with the API of django-grip are."""

from __future__ import annotations

from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from . import grip_views as views

urlpatterns = [
    path("grip/stream/", csrf_exempt(views.stream)),
    path("grip/poll/", csrf_exempt(views.poll)),
    path("grip/unchanged/", views.unchanged),
    path("grip/echo/", views.echo),
    path("grip/broadcast/", csrf_exempt(views.broadcast)),
    path("grip/counted/", views.counted),
    path("grip/held/", views.held),
]
