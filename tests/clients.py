"""HTTP clients for the servers that tests start on this machine."""

from __future__ import annotations

from typing import Any

import httpx


def http_client(**options: Any) -> httpx.AsyncClient:
    """A client that asks no proxy of the environment.

    Without certificates to verify by: to read them takes longer than most requests, and nothing here is encrypted.
    """
    return httpx.AsyncClient(trust_env=False, verify=False, **options)
