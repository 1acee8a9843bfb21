"""A detector as a program of ``torch.export`` for one size of images: what converters of other frameworks read."""

import contextlib
import logging
import os
from collections.abc import Iterator

import torch
from torch import nn

from utils.export.compare import RejectedError, reason
from utils.export.deployed import Deployed
from utils.export.trace import quiet_exporter
from utils.quiet import quiet


def static_program(model: Deployed, shape: tuple[int, ...]) -> nn.Module:
    """Return a module that computes the same on images (B, C, H, W) of ``shape``, all sizes in it being numbers.

    A square is a product in it: some converters have no power with a number for its exponent. Raises: RejectedError.
    """
    try:
        with quiet_exporter(), torch.inference_mode(False), torch.no_grad():
            program = torch.export.export(model, (torch.zeros(shape),))
            _multiply_squares(program.graph_module)
            return program.module(check_guards=False)
    except Exception as error:  # its errors have no class in common
        raise RejectedError(f"PyTorch cannot export it: {reason(error)}") from error


def _multiply_squares(module: torch.fx.GraphModule) -> None:
    """Write x·x for x², in place."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten.pow.Tensor_Scalar and node.args[1] == 2:
            with module.graph.inserting_before(node):
                product = module.graph.call_function(torch.ops.aten.mul.Tensor, (node.args[0], node.args[0]))
            product.meta = dict(node.meta)
            node.replace_all_uses_with(product)
            module.graph.erase_node(node)
    module.recompile()


@contextlib.contextmanager
def quiet_converter() -> Iterator[None]:
    """Hold back what a converter says of its own steps, by print, progress bars, and up to warnings in the log."""
    with contextlib.ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nothing))
        stack.enter_context(contextlib.redirect_stderr(nothing))
        stack.enter_context(quiet(logging.ERROR))
        stack.enter_context(quiet_exporter())
        yield
