"""A node without root that runs the containers of Pods as local processes.

Runs as a thread of the tests or the demo, or as a program; each container is a child process. Called by both.
"""
