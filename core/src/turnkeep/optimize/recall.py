"""Recall."""

RECALL = "recall"
