"""What makes contexts smaller, and keeps them within a limit.

An optimizer (`plan`) sees a context in groups (`view`) and asks for edits, which `edits` applies.
`engine` says when, runs the pipeline, checks and reports; `fit` is its last step. The steps that
ship with core are `compact`, `notes`, `dedupe` and `window`; `arrival` shortens what comes in, and
`recall` reads back what was taken out.
"""
