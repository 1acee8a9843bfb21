"""Train with compiled code: ``--compile``, by PyTorch's compiler.

Paper: PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode Transformation and Graph Compilation,
https://doi.org/10.1145/3620665.3640366

The forward and backward passes of the model that trains are compiled, by a first step whose results are thrown away: so
what a compiler lacks shows before the run has a folder. The average that is validated, checkpoints and exports have
nothing of it.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from utils.data.batch import as_images
from utils.data.quad import JOINED
from utils.device import autocast, to_float_images
from utils.dist import world
from utils.errors import ConfigError, lacking_memory
from utils.text import duration, one_line
from utils.training.generators import kept_generators
from utils.training.inputs import Inputs

log = logging.getLogger(__name__)

SHOWN_ERROR = 300  # characters


def compile_model(inputs: Inputs, amp_dtype: torch.dtype | None) -> None:
    """Compile the model in place; weights, statistics of norms and random numbers stay as they are.

    Raises: ConfigError where PyTorch cannot compile here, or cannot compile this model.
    """
    cfg, model, start = inputs.cfg, inputs.model, time.monotonic()
    log.info("--compile: compiling, which takes minutes on a CPU")
    model.compile(dynamic=True if cfg.multi_scale or cfg.rect else None)  # else once more for another last batch
    images = to_float_images(as_images(np.zeros(_shape(inputs), inputs.spec.pixels.dtype)), inputs.device)
    try:
        with kept_generators(inputs.device), _kept_buffers(model), autocast(inputs.device, amp_dtype):
            maps = model.train()(images)
            sum(each.float().mean() for each in maps).backward()
    except RuntimeError as error:
        if lacking_memory(error):
            raise
        what = f"--compile: PyTorch cannot compile this model here ({one_line(error, SHOWN_ERROR)})"
        raise ConfigError(what, "leave --compile out; for a CPU it needs a C++ compiler, for a GPU Triton") from error
    finally:
        model.zero_grad(set_to_none=True)
    log.info("--compile: compiled in %s", duration(time.monotonic() - start))


def eager(is_compiled: bool) -> AbstractContextManager:
    """Return a context in which compiled modules run as they are written, so that hooks see what happens inside."""
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


def _shape(inputs: Inputs) -> tuple[int, int, int, int]:
    """Return (B, H, W, C) of the batches of this process."""
    cfg, (height, width) = inputs.cfg, inputs.shape
    pictures = max(min(cfg.batch_size, len(inputs.scans[0])) // world(), 1)
    if cfg.quad:
        pictures, height, width = max(pictures // JOINED, 1), 2 * height, 2 * width
    return pictures, height, width, inputs.spec.pixels.channels


@contextmanager
def _kept_buffers(model: nn.Module) -> Iterator[None]:
    """Put the buffers back, such as running statistics, whatever a training step has made of them."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
