"""Consumers that know one protocol, to be subclassed (`channels.generic`)."""
