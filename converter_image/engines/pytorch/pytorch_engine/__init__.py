"""The PyTorch engine: litert-torch for what ``torch.export.save`` wrote, and torch itself as the original.

``archive`` looks at a file's entries, ``pickles`` at what is pickled among them, ``program`` at the graph:
all with the standard library, before torch is there. ``loading`` writes what was understood into
a file of its own, without anything pickled, and has torch read that one. ``images`` finds what is turned,
``original`` runs the model, ``rewriting``, ``wrapping``, ``converting`` and ``making`` make the float file,
and ``task`` puts all of it in order.
"""
