"""Channels: which file devices are to run, and the pointer that tells them."""
