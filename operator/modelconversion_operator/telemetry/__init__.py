"""What the operator says of itself: metrics, and the server that probes and Prometheus ask.

Called by the reconciler and the process.
"""
