"""Mosaics and their augmentation, as plans that are then painted."""
