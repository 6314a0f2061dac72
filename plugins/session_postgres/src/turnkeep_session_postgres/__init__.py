"""PostgreSQL sessions for turnkeep: see `turnkeep_session_postgres.plugin`."""
