"""The Kubernetes API server: what is read from it, watched on it and written to it.

Called by the reconciler and the process.
"""
