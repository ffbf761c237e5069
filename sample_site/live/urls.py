"""The live pages, and what they ask for."""

from __future__ import annotations

from django.urls import path

from sample_site.live import counter, dashboard, tasks

app_name = "live"

urlpatterns = [
    path("dashboard/", dashboard.page, name="dashboard"),
    path("dashboard/events/", dashboard.SiteEvents.as_view(), name="events"),
    path("dashboard/wave/", dashboard.wave, name="wave"),
    path("counter/", counter.page, name="counter"),
    path("counter/changes/", counter.Changes.as_view(), name="changes"),
    path("counter/step/", counter.step, name="step"),
    path("tasks/", tasks.page, name="tasks"),
    path("api/tasks/", tasks.TaskList.as_view(), name="task-list"),
    path("api/tasks/<int:pk>/", tasks.TaskDetail.as_view(), name="task-detail"),
]
