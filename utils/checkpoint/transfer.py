"""Start a model from the tensors of another one: what fits, and the classes that both know by name."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from utils.data.scan.class_matching import ClassMatcher


def transfer(model: nn.Module, state: Mapping[str, Tensor], exclude: Iterable[str] = ()) -> set[str]:
    """Copy every tensor whose key and shape are the model's, and return their keys.

    Keys that contain one of ``exclude`` are left alone.
    """
    own, exclude = model.state_dict(), tuple(exclude)
    chosen = {
        key: value
        for key, value in state.items()
        if key in own and value.shape == own[key].shape and not any(part in key for part in exclude)
    }
    model.load_state_dict(chosen, strict=False)
    return set(chosen)


def same_classes(theirs: Mapping[int, str], ours: Mapping[int, str]) -> list[tuple[int, int]]:
    """Return the ids (theirs, ours) of classes of one name, as ``ClassMatcher`` finds it; a number is no name."""
    find = ClassMatcher(theirs).find
    found = {index: find(name) for index, name in ours.items() if not name.strip().isdecimal()}
    return [(index, own) for own, index in found.items() if index is not None]


def carry_classes(model: nn.Module, state: Mapping[str, Tensor], nc: int, pairs: Sequence[tuple[int, int]]) -> bool:
    """Give the head, in place, what a head of ``nc`` classes in ``state`` knows of boxes and of the classes ``pairs``.

    Return whether that head is of the same kind and width.
    """
    prefix = head_prefix(model)
    return model.head.take_classes(below(state, prefix), nc, pairs)


def wanted_options(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return keys of the model YAML with which more of the head in ``state`` would fit."""
    ask = getattr(model.head, "wanted_options", None)
    return ask(below(state, head_prefix(model))) if ask else {}


def head_prefix(model: nn.Module) -> str:
    return f"model.{len(model.rows) - 1}."


def fitted_keys(model: nn.Module) -> tuple[str, ...]:
    """Return the keys of what the head fits to a data set, which weights from another one should not replace."""
    return tuple(head_prefix(model) + key for key in getattr(model.head, "fitted", ()))


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one module under its own keys."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
