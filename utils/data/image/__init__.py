"""Read image files: header, checks, pixels."""
