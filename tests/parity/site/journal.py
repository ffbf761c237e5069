"""What consumers and middleware tell the test besides what they send."""

import json
from pathlib import Path
from urllib.parse import parse_qs

from django.conf import settings


def note(scope, *entry):
    """Append an entry to the journal that the client named in its query string as `?journal=<name>`."""
    name = parse_qs(scope["query_string"].decode()).get("journal")
    if name:
        with (Path(settings.JOURNAL) / name[0]).open("a") as file:
            file.write(json.dumps(entry) + "\n")
