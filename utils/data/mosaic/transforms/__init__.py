"""Augmentations of a finished picture: one file each, with one class (Sample, rng) → Sample that registers itself."""

import sys

from utils.registry import import_plugins

import_plugins(sys.modules[__name__])
