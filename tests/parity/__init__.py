"""What the same consumers show on Channels and here."""
