"""The global random generators, from which DropPath and code of users draw; seeded by ``inputs.seed_everything``."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generator_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global generators, plain data and tensors."""
    numbers = np.random.get_state(legacy=False)
    states = {"python": random.getstate(), "numpy": numbers, "torch": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_generators(states: Mapping[str, Any], device: torch.device) -> None:
    """Take up ``generator_states``."""
    random.setstate(states["python"])
    numbers = states["numpy"]
    key = np.array(numbers["state"]["key"], np.uint32)
    np.random.set_state(numbers | {"state": numbers["state"] | {"key": key}})
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def kept_generators(device: torch.device) -> Iterator[None]:
    """Leave the generators as they were, whatever is drawn meanwhile."""
    states = generator_states(device)
    try:
        yield
    finally:
        set_generators(states, device)
