"""The dashboard: what happens on the site, by Server-Sent Events."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from grip_consumers import EventStream
from sample_site.live import news


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """The dashboard with the totals as they are now."""
    return render(request, "live/dashboard.html", {"totals": news.totals()})


@require_POST
def wave(request: HttpRequest) -> HttpResponse:
    """Something to see without saying anything."""
    news.tell("wave", "Somebody waved")
    return HttpResponse(status=204)


class SiteEvents(EventStream):
    """What the dashboard listens to: first the totals, then each thing that happens."""

    groups = [news.GROUP]

    def initial(self) -> None:
        self.send(news.totals(), event="totals")

    def site_happened(self, event: dict[str, Any]) -> None:
        self.send({key: event[key] for key in ("kind", "text", "totals")}, event="happened")
