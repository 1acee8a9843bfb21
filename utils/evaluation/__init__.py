"""Measure a detector: evaluate, and those who look on."""
