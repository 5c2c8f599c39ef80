"""Where a TFLite file can run: the operators of each target, and what a file has beside them.

Pure functions over a file that has been read. Called by the workers, the compilers and ``cli.inspect``.
"""
