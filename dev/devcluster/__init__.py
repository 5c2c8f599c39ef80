"""A local Kubernetes control plane, an S3 server and a process node, for tests and for the demo."""
