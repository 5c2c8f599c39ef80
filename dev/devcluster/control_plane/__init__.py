"""A real etcd, kube-apiserver and kube-controller-manager, and how tests and the demo talk to them.

The servers are processes of their own, started by the program that needs them and ended with it. Called by
the tests, the demo and both nodes.
"""
