"""A node with kubelet, containerd and real containers on this machine, as root."""
