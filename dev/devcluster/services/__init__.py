"""Servers that conversions need or that watch them: S3 and Prometheus, on this machine or in a cluster."""
