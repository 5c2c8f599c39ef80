"""Container images without Docker: built from the Dockerfiles, written as OCI archives.

Runs in the developer's process, as root, with buildah as a child. Called by ``make images`` and the real
node's tests.
"""
