"""The model in the form in which it trains: what keeps its maps, what is compiled, how several processes share it."""

import torch
from torch import nn

from utils.training.checkpointing import recompute_blocks
from utils.training.compiling import compile_model
from utils.training.inputs import Inputs
from utils.training.processes import share_model


def build_network(inputs: Inputs, amp_dtype: torch.dtype | None) -> nn.Module:
    """Return what trains the model, whose parameters and keys stay as they are. Raises: ConfigError."""
    cfg, model = inputs.cfg, inputs.model
    if cfg.checkpointing:
        recompute_blocks(model, inputs.shape)
    network = share_model(model, inputs.device, cfg.sync_bn)
    if cfg.compile:
        compile_model(inputs, amp_dtype)
    return network
