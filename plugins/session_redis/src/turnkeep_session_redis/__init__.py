"""Redis sessions for turnkeep: see `turnkeep_session_redis.plugin`."""
