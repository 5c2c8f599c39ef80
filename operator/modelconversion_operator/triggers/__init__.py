"""Triggers: looks at a source when it is due, and one conversion, or set, for each version of it.

As for conversions, a decision is a pure function of what is known, and the shell around it acts.
"""
