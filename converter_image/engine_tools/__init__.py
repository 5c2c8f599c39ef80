"""What engines share that needs numpy and LiteRT: sizes of inputs, the float file, running the original.

It is copied into each engine's environment, as the contract is; the converter imports nothing of it.
"""
