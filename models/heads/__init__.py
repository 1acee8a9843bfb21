"""The detection heads of model YAMLs; importing the package lists every file of this folder in ``LAYERS``."""

import sys

from utils.registry import import_plugins

import_plugins(sys.modules[__name__])
