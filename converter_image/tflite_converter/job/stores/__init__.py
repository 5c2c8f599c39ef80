"""Where files are read from and written to: object stores and web servers, all as one protocol."""
