"""Replay: what a policy would have sent for recorded conversations, and what it would have cost.

Recorded outputs are forced: a policy changes what the model would have seen, never what it said.
"""
