"""Files from strangers: told apart by their bytes, bounded, unpacked, hashed and signed.

Runs in the parent process. Knows nothing of TensorFlow.
"""
