"""The read-only page: conversions, sets and triggers in a browser, as whoever looks may see them.

It asks the API server with the credentials of the person who looks, and has none of its own. In a cluster
(:mod:`modelconversion_client.viewer.__main__`) these are the token that each request brings; on a person's
machine ``kubectl mconv page`` gives it the kubeconfig.
"""
