"""Run a checkpoint that ``python -m utils.checkpoint convert --to safetensors`` wrote, as one in a .pt file."""

from utils.backends.pt import load

__all__ = ["load"]
