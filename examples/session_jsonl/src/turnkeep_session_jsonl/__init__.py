"""turnkeep sessions in JSONL files: the example of a third-party store."""
