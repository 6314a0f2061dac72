"""Takes progress bars out of old tool results: the example of a third-party optimizer."""
