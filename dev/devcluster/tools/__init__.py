"""Programs that are downloaded against a digest or built once, and kept in the cache.

Runs in the developer's process before anything is started. Called by the Makefile, the control plane and
the nodes.
"""
