"""Child processes and their sandbox: start one, confine it, watch it, and explain how it ended.

``parent`` runs in the trusted process, ``child``, ``forked``, ``guest`` and ``sandbox`` in the untrusted
ones; ``protocol`` holds the messages of both. Knows nothing of models.
"""
