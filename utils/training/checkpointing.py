"""Train with fewer maps in memory: blocks are computed again when their gradients are due.

Paper: Training Deep Nets with Sublinear Memory Cost, https://arxiv.org/abs/1604.06174

Any module can be such a block, so no backbone knows of this. A training pass on the meta device, where it costs shapes
alone, tells what each module keeps for its gradients; the blocks are the outermost modules that keep no more than some
limit, and the limit is the one that needs the least memory. Results are those of a plain step, to the last bit on a
CPU: random numbers are drawn again as they were, and norms do not count a batch twice.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint

from models.detector import DetectionModel
from models.layers.observe import shadow
from utils.errors import ConfigError
from utils.text import counted

log = logging.getLogger(__name__)

WORTH = 0.9  # share of the bytes kept before that blocks must come under
BATCH = 2  # images of the pass on the meta device


@dataclass
class Kept:
    """What a module, with all inside it, keeps in a training pass for its gradients."""

    bytes: int = 0
    calls: int = 0
    inputs: list[tuple[Tensor, int]] = field(default_factory=list)  # with the versions that they had

    @property
    def can_repeat(self) -> bool:
        """Whether it can be computed again: it runs once, on tensors that nothing changes in place."""
        return self.calls == 1 and bool(self.inputs) and all(x._version == version for x, version in self.inputs)


def recompute_blocks(model: DetectionModel, shape: tuple[int, int]) -> None:
    """Let blocks of a model be computed again when it trains, in place; its keys, and its eval mode, stay as they are.

    ``shape`` (height, width) is that of the images. Raises: ConfigError where that would save hardly anything.
    """
    kept = watch(model, (BATCH, model.yaml["ch"], *shape))
    blocks, need = choose_blocks(kept)
    share = need / kept[""].bytes
    if share > WORTH:
        place = f"the backbone {model.rows[0].name}" if model.backbone else "this model"
        what = f"--checkpointing: {place} has no blocks that would save memory if they were computed again"
        raise ConfigError(what, "leave --checkpointing out; a smaller --batch-size needs less memory")
    for path in blocks:
        module = model.get_submodule(path)
        module.forward = partial(_forward, module, module.forward)
    log.info("--checkpointing: %s, which keep %.0f %% of the maps", counted(len(blocks), "block"), 100 * share)


def choose_blocks(kept: Mapping[str, Kept]) -> tuple[list[str], int]:
    """Return the paths of the blocks with which a step needs the least memory, and how much that is, in bytes.

    It is that of the inputs of all blocks, of all that is in none, and of the largest block while it is computed again.
    """
    plans = [_outermost(kept, limit) for limit in {each.bytes for each in kept.values() if each.can_repeat}]
    needs = [(_need(kept, plan), plan) for plan in plans]
    need, plan = min(needs, default=(kept[""].bytes, []))
    return plan, need


def _outermost(kept: Mapping[str, Kept], limit: int) -> list[str]:
    """Return the outermost modules that can be computed again and keep no more than ``limit`` bytes."""
    found = [""]
    for path, each in kept.items():  # a module stands before those inside it
        if path and not path.startswith(f"{found[-1]}.") and each.can_repeat and 0 < each.bytes <= limit:
            found.append(path)
    return found[1:]


def _need(kept: Mapping[str, Kept], plan: Sequence[str]) -> int:
    inputs = {id(x): x.nbytes for path in plan for x, _ in kept[path].inputs}
    inside = [kept[path].bytes for path in plan]
    return sum(inputs.values()) + kept[""].bytes - sum(inside) + max(inside, default=0)


def watch(model: nn.Module, shape: Sequence[int]) -> dict[str, Kept]:
    """Return what each module keeps, by its path, outer ones first, and of the whole under '', for images of ``shape``.

    What several keep is counted once, for the first.
    """
    twin = shadow(model).train()
    kept = {path: Kept() for path, _ in twin.named_modules()}
    running: list[Kept] = []
    counted_already = {tensor.untyped_storage()._cdata for tensor in (*twin.parameters(), *twin.buffers())}
    alive = []  # so that no address is used again

    def begin(own: Kept, module: nn.Module, args: tuple, options: dict[str, Any]) -> None:
        own.calls += 1
        own.inputs += [(leaf, leaf._version) for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        running.append(own)

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in counted_already:
            counted_already.add(storage._cdata)
            alive.append(storage)
            for each in running:
                each.bytes += storage.nbytes()
        return tensor

    for path, module in twin.named_modules():
        module.register_forward_pre_hook(partial(begin, kept[path]), with_kwargs=True)
        module.register_forward_hook(lambda *_: running.pop() and None)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        twin(torch.empty(*shape, device="meta", dtype=next(twin.parameters()).dtype))
    return kept


def _forward(module: nn.Module, plain: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what ``plain``, the forward pass of ``module``, does, in training by computing it twice."""
    if not (module.training and torch.is_grad_enabled()):
        return plain(*args, **options)
    contexts = partial(_contexts, module)
    args, options = tree_map(lambda leaf: leaf, (args, options))  # lists of their own: a caller may lengthen its list
    return checkpoint(plain, *args, use_reentrant=False, preserve_rng_state=True, context_fn=contexts, **options)


def _contexts(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Return the contexts in which a block is computed, and computed again."""
    return nullcontext(), _buffers_apart(module)


@contextmanager
def _buffers_apart(module: nn.Module) -> Iterator[None]:
    """Lend a block copies of its buffers, so that running statistics do not count the batch once more."""
    own = [(each, name, buffer) for each in module.modules() for name, buffer in each.named_buffers(recurse=False)]
    for each, name, buffer in own:
        setattr(each, name, buffer.clone())
    try:
        yield
    finally:
        for each, name, buffer in own:
            setattr(each, name, buffer)
