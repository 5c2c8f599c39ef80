"""A node without root that runs the containers of Pods as local processes."""
