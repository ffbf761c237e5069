"""Applications that others wrote for Channels, unmodified, behind a proxy."""
