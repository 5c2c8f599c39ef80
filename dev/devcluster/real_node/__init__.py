"""A node with kubelet, containerd and real containers on this machine, as root.

Runs as a program that holds the node's processes; they end with it. Called by ``make e2e`` and the demo.
"""
