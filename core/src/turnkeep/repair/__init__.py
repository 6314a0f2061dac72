"""What a log needs before it can be sent: cut into steps, each repaired for a provider's rules.

`steps` cuts a log into steps and repairs each as it closes; `validity` repairs whole lists.
"""
