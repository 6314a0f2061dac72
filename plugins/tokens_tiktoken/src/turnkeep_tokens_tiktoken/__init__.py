"""Token counts by tiktoken for turnkeep: see `turnkeep_tokens_tiktoken.plugin`."""
