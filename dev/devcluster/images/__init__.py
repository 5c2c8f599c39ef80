"""Container images without Docker: built from the Dockerfiles, written as OCI archives."""
