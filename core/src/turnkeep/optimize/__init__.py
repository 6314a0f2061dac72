"""What stands between a session's log and a model call: steps, repair, and the rewriting of both.

`steps` cuts a log into steps and repairs each as it closes; `validity` repairs whole lists.
"""
