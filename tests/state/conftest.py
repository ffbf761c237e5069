from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection


@pytest.fixture
def tables(transactional_db: None, settings: Any) -> Iterator[None]:
    """The tables of tests.state.models."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.state.apps.StateTests"]
    from tests.state.models import ALL

    with connection.schema_editor() as editor:
        for model in ALL:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(ALL):
            editor.delete_model(model)
