"""Decide what to do about one conversion: pure functions from what is known to a decision.

No I/O, no clock, no client: the same facts give the same decision. Called by the reconciler. A contract of
import-linter keeps kopf, Kubernetes, asyncio and the other rooms out.
"""
