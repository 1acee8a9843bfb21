"""Everything that is drawn: boxes on images, mosaics of batches, curves and charts."""
