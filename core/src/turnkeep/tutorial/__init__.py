"""The names of the tutorial that turnkeep starts from, thin over ours.

`models`, `memory`, `callbacks`, `llm` and `tools` are laid out as there, so that its scripts run
when the name of its package is replaced by ours.
"""
