"""The receiver of webhooks: a process of its own, which can ask for a look of a trigger and for nothing else.

It reads the triggers that name a Secret for it, and those Secrets, for which each namespace gives it the
right; and it writes into a trigger's status that somebody has called.
"""
