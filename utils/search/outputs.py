"""What a search leaves: evolve.csv, hyp_evolve.yaml, evolve.png and evolve_history.png, made anew from the study."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.study import Study
from optuna.trial import FrozenTrial

from utils.data.mosaic.transforms._listed import LIST
from utils.loggers.row import METRICS
from utils.plots.evolve import plot_genes, plot_history
from utils.runs import write_text
from utils.search.objective import FIGURES, HYP
from utils.search.space import Space
from utils.search.study import done, finished
from utils.text import counted, safe_text

TABLE, BEST, GENES_PICTURE, HISTORY_PICTURE = "evolve.csv", "hyp_evolve.yaml", "evolve.png", "evolve_history.png"
WIDTH = 20  # of a column
MIN_FOR_IMPORTANCE = 30  # trials, below which it would be chance: it looks at the best tenth


def write_tables(study: Study, folder: Path, about: str) -> None:
    """Write the trials that were trained to the end, and the hyper-parameters of the best; nothing where none was.

    The columns are those of YOLOv5's evolve.csv, and behind them the fitness and the number of the trial. ``about``
    says what was trained, in a line.
    """
    trials = finished(study)
    if not trials:
        return
    rows = [_row(trial) for trial in sorted(trials, key=lambda trial: trial.number)]
    lines = [",".join(f"{heading:>{WIDTH}}" for heading in rows[0])]
    lines += [",".join(f"{value:{WIDTH}.5g}" for value in row.values()) for row in rows]
    write_text(folder / TABLE, "\n".join(lines) + "\n")
    write_text(folder / BEST, _best_hyp(trials[0], len(trials), about))


def _row(trial: FrozenTrial) -> dict[str, float]:
    figures = trial.user_attrs[FIGURES]
    losses = {name: value for name, value in figures.items() if name not in METRICS}
    values = {name: value for name, value in trial.user_attrs[HYP].items() if name != LIST}  # that is of no number
    hyp = {name: math.nan if value is None else value for name, value in values.items()}
    return {name: figures[name] for name in METRICS} | losses | hyp | {"fitness": trial.value, "trial": trial.number}


def _best_hyp(trial: FrozenTrial, count: int, about: str) -> str:
    figures = ", ".join(f"{name} {value:.5g}" for name, value in trial.user_attrs[FIGURES].items())
    header = [
        f"Hyper-parameters of the best of {counted(count, 'trial')}, number {trial.number}, for train.py --hyp",
        about,
        f"fitness {trial.value:.5g} ({figures})",
    ]
    values = yaml.safe_dump(dict(trial.user_attrs[HYP]), sort_keys=False, allow_unicode=True)
    return "".join(f"# {safe_text(line)}\n" for line in header) + "\n" + values


def draw_pictures(study: Study, space: Space, folder: Path) -> None:
    """Draw each hyper-parameter against the fitness, and how the search went; nothing before a trial was finished."""
    trials = finished(study)
    if not trials:
        return
    fitness = [trial.value for trial in trials]
    values = {name: [trial.user_attrs[HYP][name] for trial in trials] for name in space}
    logarithmic = {name for name, item in space.items() if item.kind == "log"}
    plot_genes(values, fitness, folder / GENES_PICTURE, logarithmic=logarithmic)
    everything = sorted(done(study), key=lambda trial: trial.number)
    plot_history(
        [trial.number for trial in everything],
        [trial.value for trial in everything],
        [trial.state == optuna.trial.TrialState.COMPLETE for trial in everything],
        folder / HISTORY_PICTURE,
        importance=importance(study, trials),
    )


def importance(study: Study, trials: Sequence[FrozenTrial]) -> Mapping[str, Any]:
    """Return the share of each hyper-parameter in what makes good trials good, by PED-ANOVA; empty for few trials.

    PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces, IJCAI 2023.
    """
    if len(trials) < MIN_FOR_IMPORTANCE or len({trial.value for trial in trials}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study)
