"""The containers of the operator's Job: fetch, convert and publish, and how they reach the store.

Each stage is a process of its own. ``fetch`` and ``publish`` have the credentials of the store and never run
a model's code; ``convert`` runs the conversion and has no credentials. Where nobody saw how a run ended, a
fourth, ``report``, reads its report from the store. Called by ``cli.jobs``.
"""
