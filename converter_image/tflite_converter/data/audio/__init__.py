"""Sounds as samples: headers are judged by the parent, and decoded in a confined process."""
