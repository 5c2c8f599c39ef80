"""TFLite files: read, run, rewritten, and the metadata in them.

Used in the parent and in the LiteRT child; running a file (``runtime``) happens in children only.
"""
