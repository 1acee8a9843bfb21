"""Weights files: our own (tensors and plain data) and official pickled ones, read without executing anything."""
