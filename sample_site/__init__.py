"""A small Django project that shows the package at work: chat rooms in SQLite, sockets held by a proxy."""
