"""Servers that conversions need or that watch them: S3 and Prometheus, on this machine or in a cluster.

Each server is a child process, or a Deployment in a cluster. Called by the tests and the demo.
"""
