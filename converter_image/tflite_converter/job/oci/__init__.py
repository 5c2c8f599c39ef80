"""Artifacts in a container registry: what they are there, and how they get there."""
