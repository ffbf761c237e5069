"""What messages ask for."""

from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from .request_views import TeamViewSet, Who, broken, enter, large

router = SimpleRouter()
router.register("teams", TeamViewSet, basename="team")

urlpatterns = [
    path("requests/<slug:way>/", include(router.urls)),
    path("requests/enter/<slug:name>/", enter),
    path("requests/who/", Who.as_view()),
    path("requests/broken/", broken),
    path("requests/large/", large),
]
