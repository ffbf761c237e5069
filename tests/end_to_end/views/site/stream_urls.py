"""Where the streams are."""

from __future__ import annotations

from django.urls import path

from . import stream_views as views

urlpatterns = [
    path("streams/events/<names>/", views.Events.as_view()),
    path("streams/poll/<names>/", views.Poll.as_view()),
    path("streams/lines/<name>/", views.Lines.as_view()),
    path("streams/say/<name>/", views.say),
]
