"""What a model is made of: a table of its rows, parameters, FLOPs, and the time of every row."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from models.build import count_parameters, norms_passed_by
from utils.device import now


def summary_table(model: nn.Module, imgsz: int = 640, times: Sequence[float] | None = None) -> str:
    """Return a table of the rows of a DetectionModel, and its totals; ``times`` are ms per row.

    Behind a backbone, ``from`` counts slots, of which the backbone has five; they have a column of their own then.
    """
    rows = model.rows
    columns = {"row": [row.index for row in rows]}
    if rows[0].is_backbone:
        columns["slot"] = [f"0–{rows[0].slot}", *(row.slot for row in rows[1:])]
    columns["from"] = [", ".join(map(str, row.written)) for row in rows]
    columns["n"] = [row.number for row in rows]
    columns["params"] = [f"{count_parameters(module):,}" for module in model.model]
    if times:
        columns["ms"] = [f"{times[row.index]:.2f}" for row in rows]
    numbers = len(columns)
    columns["module"] = [row.name for row in rows]
    columns["arguments"] = [row.args for row in rows]
    aligned = (
        _aligned([name, *map(str, cells)], str.rjust if i < numbers else str.ljust)
        for i, (name, cells) in enumerate(columns.items())
    )
    table = ("  ".join(line).rstrip() for line in zip(*aligned, strict=True))
    return "\n".join([*table, *model.wiring, summary_line(model, imgsz)])


def _aligned(cells: Sequence[str], align: Callable[[str, int], str]) -> list[str]:
    width = max(map(len, cells))
    return [align(cell, width) for cell in cells]


def summary_line(model: nn.Module, imgsz: int = 640) -> str:
    """Return rows, parameters and FLOPs in one line."""
    flops = count_flops(model, imgsz) / 1e9
    return f"{len(model.rows)} rows, {count_parameters(model):,} parameters, {flops:.1f} GFLOPs at {imgsz}×{imgsz}"


def fused_line(model: nn.Module, imgsz: int = 640) -> str:
    """Return the line of a fused model, with the batch norms that are left, which docs/fusing.md gives reasons for."""
    left = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    return summary_line(model, imgsz) + (f"; {left} batch norms cannot be folded" if left else "")


def count_flops(model: nn.Module, imgsz: int = 640) -> int:
    """Return 2 × multiply-adds of convolutions and matrix products for one image, in eval mode.

    On the meta device only shapes are propagated, so the real size costs next to nothing.
    """
    state = _meta_state(model)
    dtype = next(iter(state.values())).dtype
    image = torch.empty(1, model.yaml["ch"], imgsz, imgsz, dtype=dtype, device="meta")
    with _eval_mode(model), norms_passed_by(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(model, state, image, tie_weights=False)
    return counter.get_total_flops()


def _meta_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model on the meta device, those of a module that stands in several places once.

    ``functional_call`` would put such a module back with the tensors that it was called with, were it named twice.
    """
    return {
        f"{prefix}.{key}".lstrip("."): value.to("meta")
        for prefix, module in model.named_modules()
        for key, value in (
            *module.named_parameters(recurse=False, remove_duplicate=False),
            *module.named_buffers(recurse=False, remove_duplicate=False),
        )
    }


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    yield
    for module in training:
        module.training = True


@torch.no_grad()
def layer_times(model: nn.Module, images: Tensor, runs: int = 10) -> list[float]:
    """Return the mean milliseconds that each row of a DetectionModel takes for a batch."""
    totals, started = [0.0] * len(model.model), 0.0

    def start(module: nn.Module, inputs: tuple) -> None:
        nonlocal started
        started = now(images.device)

    def stop(index: int) -> None:
        totals[index] += now(images.device) - started

    hooks = []
    model(images)  # the first run sets up caches
    for index, module in enumerate(model.model):
        hooks.append(module.register_forward_pre_hook(start))
        hooks.append(module.register_forward_hook(lambda *_, index=index: stop(index)))
    for _ in range(runs):
        model(images)
    for hook in hooks:
        hook.remove()
    return [1e3 * total / runs for total in totals]
