"""Losses: targets and raw maps in, a number to minimise out."""
