"""The command line: what a person types, one module a command.

Runs in the parent process. Nothing imports it but the programs in this folder's parent.
"""
