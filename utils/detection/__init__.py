"""Find objects in images, and write what was found."""
