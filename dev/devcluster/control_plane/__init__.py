"""A real etcd, kube-apiserver and kube-controller-manager, and how tests and the demo talk to them."""
