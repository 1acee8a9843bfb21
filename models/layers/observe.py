"""Watch a module run on the meta device, where a run costs shapes alone: which norm reads what, what nothing reads."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from models.layers.reparam import fold_bn, fold_bn_into_next


def shadow(module: nn.Module) -> nn.Module:
    """Return a copy on the meta device, which takes no memory and shares nothing with ``module``."""
    twins = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in module.parameters()}
    twins |= {id(b): torch.empty_like(b, device="meta") for b in module.buffers()}
    return without_lstm_steps(copy.deepcopy(module, twins))


def without_lstm_steps(module: nn.Module) -> nn.Module:
    """Let the LSTMs of a module on the meta device skip their time steps, in place; they take seconds there."""
    for lstm in module.modules():
        if isinstance(lstm, nn.LSTM):
            lstm.forward = partial(_lstm_shapes, lstm)
    return module


def _lstm_shapes(lstm: nn.LSTM, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
    """Return a map of the LSTM's output shape that depends on all that the output depends on."""
    width = (lstm.proj_size or lstm.hidden_size) * (2 if lstm.bidirectional else 1)
    read = x.sum() + sum(parameter.sum() for parameter in lstm.parameters())
    return x.new_zeros(*x.shape[:-1], width) + read, None


def unread_parameters(module: nn.Module, shape: Sequence[int]) -> list[str]:
    """Return the names of trainable parameters that reach none of the maps that images of ``shape`` give."""
    twin = shadow(module).train()
    maps = twin(_images_for(twin, shape))
    torch.autograd.backward([feature.sum() for feature in maps])
    return [name for name, p in twin.named_parameters() if p.requires_grad and p.grad is None]


def _images_for(twin: nn.Module, shape: Sequence[int]) -> Tensor:
    return torch.empty(*shape, device="meta", dtype=next(twin.parameters()).dtype)


def nothing_left(norm: nn.BatchNorm2d) -> nn.Module | None:
    """Return what remains to be done when the arithmetic of ``norm`` is done elsewhere; None if that is not known."""
    return nn.Identity() if type(norm) is nn.BatchNorm2d else None


@torch.no_grad()
def fold_batch_norms(
    module: nn.Module,
    shape: Sequence[int],
    remainder: Callable[[nn.BatchNorm2d], nn.Module | None] = nothing_left,
) -> int:
    """Fold, in place, batch norms into convolutions next to them; return how many.

    A norm goes into the convolution whose output it is the only one to read, else into the unpadded one that alone
    reads its own. Who reads what is observed in a run on images of ``shape``. The convolution stays the same object
    with a new weight and bias; ``remainder(norm)`` takes the place of the norm.
    """
    if not any(isinstance(m, nn.BatchNorm2d) for m in module.modules()):
        return 0
    twin = shadow(module).eval()
    log = _CallLog()
    with log:
        maps = twin(_images_for(twin, shape))
    folded = set()
    for norm_name, conv_name, is_behind in _pairs(twin, log, maps):
        norm = module.get_submodule(norm_name)
        rest = None if norm_name in folded else remainder(norm)
        if rest is not None:
            conv = module.get_submodule(conv_name)
            replacement = fold_bn_into_next(norm, conv) if is_behind else fold_bn(conv, norm)
            conv.weight, conv.bias = replacement.weight, replacement.bias
            module.set_submodule(norm_name, rest.train(norm.training))
            folded.add(norm_name)
    return len(folded)


class _CallLog(TorchDispatchMode):
    """Keeps (operator, tensors read in their order, result) of every operation; results live, so ids stay unique."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, list[Tensor], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, list(_tensors((args, kwargs))), result))
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(map(_tensors, value))


def _pairs(twin: nn.Module, log: _CallLog, maps: Any) -> list[tuple[str, str, bool]]:
    """Return (norm, convolution, the convolution is behind) where nothing else sees what is between, the convolutions
    before a norm first; each of the two is called once.
    """
    convs = {id(m.weight): name for name, m in twin.named_modules() if isinstance(m, nn.Conv2d)}
    norms = {id(m.running_mean): name for name, m in twin.named_modules() if _is_affine_norm(m)}
    seen = Counter(id(tensor) for _, tensors, _ in log.calls for tensor in tensors)
    seen.update(id(tensor) for tensor in _tensors(maps))
    made_by_conv, made_by_norm = {}, {}  # id of an output that is read once → name of the module
    before, behind = [], []
    for func, tensors, result in log.calls:
        output = id(next(_tensors(result), None))
        made = {output} if seen[output] == 1 else set()
        if func is torch.ops.aten.convolution.default:
            source, weight = map(id, tensors[:2])
            if weight in convs and seen[weight] == 1:
                made_by_conv |= dict.fromkeys(made, convs[weight])
                if source in made_by_norm and _is_unpadded(twin.get_submodule(convs[weight])):
                    behind.append((made_by_norm[source], convs[weight], True))
            continue
        means = [id(tensor) for tensor in tensors if id(tensor) in norms]
        if len(means) == 1 and seen[means[0]] == 1:
            made_by_norm |= dict.fromkeys(made, norms[means[0]])
            if id(tensors[0]) in made_by_conv:
                before.append((norms[means[0]], made_by_conv[id(tensors[0])], False))
    return before + behind


def _is_unpadded(conv: nn.Module) -> bool:
    """True where no image size makes it pad; what a subclass does is not known."""
    return type(conv) is nn.Conv2d and conv.padding == (0, 0)


def _is_affine_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and module.affine and module.running_mean is not None
