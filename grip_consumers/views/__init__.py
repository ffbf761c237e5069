"""Batches that come through Django's own request handling."""

from .middleware import GripMiddleware

__all__ = ["GripMiddleware"]
