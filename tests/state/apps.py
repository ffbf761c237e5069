"""The application of the suite's own models; installed by a fixture."""

from __future__ import annotations

from django.apps import AppConfig


class StateTests(AppConfig):
    name = "tests.state"
    label = "state_tests"
