"""A project written for Channels; this package is in its settings alone."""
