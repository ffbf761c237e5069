"""The pages of the sample site."""

from __future__ import annotations

from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

urlpatterns = [
    path("", include("sample_site.chat.urls")),
    path("", include("sample_site.live.urls")),
    # Only with DEBUG: so the demo shows its style sheet under gunicorn and uvicorn too.
    *staticfiles_urlpatterns(),
]
