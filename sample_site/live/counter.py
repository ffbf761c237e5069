"""The counter: a number that everybody may change, by long-polling."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from grip_consumers import LongPoll
from grip_consumers.layers import get_channel_layer
from sample_site.live import news
from sample_site.live.models import Counter

GROUP = "counter"


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """The counter as it stands now."""
    return render(request, "live/counter.html", {"counter": Counter.the_one()})


@require_POST
def step(request: HttpRequest) -> HttpResponse:
    """Count up (`by=1`) or down (`by=-1`); a page without JavaScript is shown the new number."""
    by = {"1": 1, "-1": -1}.get(request.POST.get("by", ""))
    if by is None:
        return JsonResponse({"error": "Expected by=1 or by=-1."}, status=400)
    counter = Counter.step(by)
    event = {"type": "counter.changed", **counter.as_dict()}
    async_to_sync(get_channel_layer().group_send)(GROUP, event)
    news.tell("counter", f"The counter went {'up' if by > 0 else 'down'} to {counter.value}")
    if request.get_preferred_type(["application/json", "text/html"]) == "text/html":
        return redirect("live:counter")
    return JsonResponse(counter.as_dict())


class Changes(LongPoll):
    """What became of the counter since `?since=`; without that at once, what it is now."""

    groups = [GROUP]

    def initial(self) -> None:
        self.send(Counter.the_one().as_dict())

    def counter_changed(self, event: dict[str, Any]) -> None:
        self.send({"value": event["value"], "steps": event["steps"]})
