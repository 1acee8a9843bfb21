"""The figure by which the epochs of a run are compared: ``--fitness``."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from utils.data.scan.class_matching import ClassMatcher
from utils.errors import ConfigError
from utils.metrics.average_precision import MetricsResult
from utils.metrics.matching import fitness
from utils.registry import suggest
from utils.text import distinct_names

CLASS = "class:"
FIGURES: dict[str, Callable[[MetricsResult], float]] = {
    "default": fitness,
    "map": lambda metrics: metrics.map,
    "map50": lambda metrics: metrics.map50,
    "recall": lambda metrics: metrics.recall,
    "f1": lambda metrics: float(metrics.f1.mean()) if metrics.f1.size else 0.0,  # mean over classes
}


def check_fitness(choice: str, names: Mapping[int, str], labels: Sequence[np.ndarray]) -> None:
    """Check the word of --fitness; ``labels`` (n, 5) [class, …] are those of the validation images.

    Raises: ConfigError for an unknown word or class, and for a class that is on no validation image.
    """
    if choice in FIGURES:
        return
    if not choice.startswith(CLASS):
        words = ", ".join(FIGURES)
        raise ConfigError(f"--fitness {choice}: not a figure of a validation", f"choose {words} or {CLASS}NAME")
    class_id = _class_id(choice, names)
    if class_id is None:
        known = list(distinct_names(names).values())
        hint = suggest(choice.removeprefix(CLASS), known, prefix=CLASS)
        fix = hint or f"the classes are {', '.join(known)}"
        raise ConfigError(f"--fitness {choice}: the data set has no such class", fix)
    if not any((rows[:, 0] == class_id).any() for rows in labels):
        raise ConfigError(f"--fitness {choice}: no validation image shows this class", "choose another figure")


def fitness_of(choice: str, metrics: MetricsResult, names: Mapping[int, str]) -> float:
    """Return the figure of a checked --fitness, the higher the better: that of a class is its mAP@0.5:0.95."""
    if choice in FIGURES:
        return FIGURES[choice](metrics)
    own = metrics.class_ids == _class_id(choice, names)
    return float(metrics.ap[own].mean()) if own.any() else 0.0


def _class_id(choice: str, names: Mapping[int, str]) -> int | None:
    """Return the class of ``class:NAME``, None where there is none; of several with one name each has its number."""
    return ClassMatcher(distinct_names(names)).find(choice.removeprefix(CLASS))
