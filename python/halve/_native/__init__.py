"""The only importer of the compiled modules."""
