"""Channel layers: how a project reaches its connections from anywhere (`channels.layers`).

``get_channel_layer()`` returns the layer of an alias in the setting ``CHANNEL_LAYERS``. Without that setting
there is one, "default": a :class:`GripChannelLayer`, whose messages travel through the GRIP proxies. Any
other backend that is written for Channels may stand beside it, and :class:`DualChannelLayer` sends to both.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from grip_consumers import DEFAULT_CHANNEL_LAYER
from grip_consumers.exceptions import ChannelFull, InvalidChannelLayerError

from .base import BaseChannelLayer
from .dual import DualChannelLayer
from .grip import GripChannelLayer
from .in_memory import InMemoryChannelLayer

__all__ = [
    "BaseChannelLayer",
    "ChannelFull",
    "ChannelLayerManager",
    "DualChannelLayer",
    "GripChannelLayer",
    "InMemoryChannelLayer",
    "channel_layers",
    "get_channel_layer",
]

_DEFAULT_CONFIGS: dict[str, dict[str, Any]] = {
    DEFAULT_CHANNEL_LAYER: {"BACKEND": "grip_consumers.layers.GripChannelLayer"}
}


class ChannelLayerManager:
    """The channel layers of the project by alias, each made when it is first asked for.

    Attributes:
        backends: alias → layer, as far as they have been made.
    """

    def __init__(self) -> None:
        self.backends: dict[str, Any] = {}
        setting_changed.connect(self._reset_backends)

    def _reset_backends(self, setting: str, **kwargs: object) -> None:
        if setting == "CHANNEL_LAYERS":
            self.backends = {}

    @property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The setting ``CHANNEL_LAYERS``: alias → dict with BACKEND, CONFIG and TEST_CONFIG."""
        configs: dict[str, dict[str, Any]] = getattr(settings, "CHANNEL_LAYERS", _DEFAULT_CONFIGS)
        return configs

    def make_backend(self, name: str) -> Any:
        """Make the layer of an alias from its CONFIG.

        Raises:
            KeyError: nobody configured that alias.
            InvalidChannelLayerError: its BACKEND is missing or cannot be imported.
        """
        return self._make_backend(name, self.configs[name].get("CONFIG", {}))

    def make_test_backend(self, name: str) -> Any:
        """Make the layer of an alias from its TEST_CONFIG.

        Raises:
            InvalidChannelLayerError: there is none, or its BACKEND is missing or cannot be imported.
        """
        try:
            config = self.configs[name]["TEST_CONFIG"]
        except KeyError:
            raise InvalidChannelLayerError(f"No TEST_CONFIG specified for {name}") from None
        return self._make_backend(name, config)

    def _make_backend(self, name: str, config: dict[str, Any]) -> Any:
        if "ROUTING" in self.configs[name]:
            raise InvalidChannelLayerError(f"ROUTING key found for {name} - this is no longer needed in Channels 2.")
        try:
            path = self.configs[name]["BACKEND"]
        except KeyError:
            raise InvalidChannelLayerError(f"No BACKEND specified for {name}") from None
        try:
            backend_class = import_string(path)
        except ImportError as error:
            raise InvalidChannelLayerError(f"Cannot import BACKEND {path!r} specified for {name}") from error
        return backend_class(**config)

    def __getitem__(self, key: str) -> Any:
        """Return the layer of an alias; raises what :meth:`make_backend` raises."""
        if key not in self.backends:
            self.backends[key] = self.make_backend(key)
        return self.backends[key]

    def __contains__(self, key: object) -> bool:
        """Whether an alias is configured."""
        return key in self.configs

    def set(self, key: str, layer: Any) -> Any:
        """Put a layer in the place of an alias, as tests do, and return the one that was there, or None."""
        old = self.backends.get(key)
        self.backends[key] = layer
        return old


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> Any:
    """Return the channel layer of an alias, or None if it is not configured.

    Raises:
        InvalidChannelLayerError: it is configured wrongly.
    """
    try:
        return channel_layers[alias]
    except KeyError:
        return None


#: The project's channel layers.
channel_layers = ChannelLayerManager()
