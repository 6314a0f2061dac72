"""SQLite sessions for turnkeep: see `turnkeep_session_sqlite.plugin`."""
