"""Chat rooms: two consumers that share them, one written in sync style and one in async style."""
