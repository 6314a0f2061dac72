"""Stores and store wrappers that ship with core."""
