"""A user's own metrics: what confines their containers, and what becomes of what they leave."""
