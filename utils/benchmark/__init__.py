"""Compare backbones and forms of models."""
