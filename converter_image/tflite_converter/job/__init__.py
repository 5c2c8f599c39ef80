"""The containers of the operator's Job: fetch, convert and publish, and how they reach the store.

Each stage is a process of its own. ``fetch`` and ``publish`` have the credentials of the store and never run
a model's code; ``convert`` runs the conversion and has no credentials. Called by ``cli.jobs``.
"""
