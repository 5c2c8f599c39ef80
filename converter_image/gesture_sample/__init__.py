"""The sample of the demo: a small gesture classifier, its training data, and how its files are used.

No part of the product. Called by the scripts beside this folder.
"""
