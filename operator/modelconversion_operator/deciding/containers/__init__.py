"""Containers of Jobs: what all of them have, and those of a user's own metrics."""
