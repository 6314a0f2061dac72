"""Encrypted turnkeep sessions: see `turnkeep_wrap_encrypt.plugin`."""
