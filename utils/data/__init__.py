"""Data: from the description of a data set to batches, and the images that detection runs on."""
