"""Releases: images and chart into a registry, with signatures, bills of materials and provenance.

Runs in the developer's process, as root, for images are built. Called by ``make release`` and the end-to-end
tests, which install what it has made.
"""
