"""A small Django project that shows the package at work: chat rooms and live pages, held open by a proxy."""
