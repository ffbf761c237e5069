"""Validators that refuse connections before a consumer sees them (`channels.security`)."""
