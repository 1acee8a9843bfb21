"""Where a training diverged: which batch, and which module was the first whose numbers are not finite."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from utils.collective import is_shared
from utils.dist import rank
from utils.errors import DivergedError
from utils.runs import write_text
from utils.training.compiling import eager
from utils.training.epoch import forward, network_input
from utils.training.finite import as_json, first_not_finite, is_finite
from utils.training.run_state import Seen
from utils.training.session import Session

REPORT = "nonfinite.json"


@dataclass(frozen=True)
class Finding:
    """What is known of a divergence; ``seen`` and ``module`` are None where it shows in neither."""

    seen: Seen | None
    module: str | None  # its name in the model
    norm: float  # of the gradients of the optimizer step that was being made

    def where(self, session: Session) -> str:
        """Return ``epoch 3, batch 7, in model.2.cv1.conv (row 2, C3)``."""
        seen, state = self.seen, session.state
        place = f"epoch {seen.epoch}, batch {seen.batch}" if seen else f"epoch {state.epoch}, batch {state.batch}"
        return f"{place}, in {self.module}{_row(session, self.module)}" if self.module else place


def diagnose(session: Session) -> Finding:
    """Find where the numbers are not finite any more. The batches of the last optimizer step are trained again for it,
    so gradients and running statistics are others afterwards.
    """
    s = session
    norm = s.stepper.norm().item()
    gradients = {name: p.grad for name, p in s.stepper.parameters.items() if p.grad is not None}
    deepest = first_not_finite(dict(reversed(gradients.items())))  # gradients go backwards: it was the first
    spoilt = [seen for seen in s.state.recent if not is_finite(seen.items)]
    if not spoilt and deepest is None:
        place = first_not_finite(s.model.state_dict())
        return Finding(s.state.recent[-1] if s.state.recent else None, place and _owner(place), norm)
    for seen in () if is_shared() else spoilt[:1] or s.state.recent:  # the others have other batches
        shows, module = _train_again(s, seen)
        if shows:
            return Finding(seen, module, norm)
    seen = spoilt[0] if spoilt else _all(s.state.recent)
    return Finding(seen, deepest and _owner(deepest), norm)


def write_report(session: Session, error: DivergedError, finding: Finding) -> None:
    """Write what is known of a divergence into the run folder."""
    if rank() > 0:
        return
    s, seen = session, finding.seen
    report = {
        "what": error.what,
        "epoch": seen.epoch if seen else s.state.epoch,
        "batch": seen.batch if seen else s.state.batch,
        "images": seen.paths if seen else [],
        "losses": dict(zip(s.loss.terms, map(as_json, seen.items.tolist()), strict=True)) if seen else {},
        "gradient_norm": as_json(finding.norm),
        "module": finding.module,
        "learning_rates": [group["lr"] for group in s.stepper.optimizer.param_groups],
        "halvings": s.state.halvings,
    }
    write_text(s.run_dir / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _train_again(session: Session, seen: Seen) -> tuple[bool, str | None]:
    """Return whether a batch, trained again, has numbers that are not finite, and the first module that has some.

    Layers that draw random numbers draw others than before, so it may not happen again.
    """
    s = session
    batch = s.train_loader.batches[seen.epoch, seen.batch]
    if batch.paths != seen.paths:  # images by weights, which have changed since
        return False, None
    s.stepper.optimizer.zero_grad(set_to_none=True)
    with eager(s.cfg.compile), _watched(s.model) as found:
        loss, _ = forward(s, network_input(s, batch, seen.epoch, seen.batch), batch.targets)
    if found:
        return True, found[0]
    loss.backward()
    gradients = [(name, p.grad) for name, p in s.stepper.parameters.items() if p.grad is not None]
    deepest = first_not_finite(dict(reversed(gradients)))
    return not is_finite(loss) or deepest is not None, deepest and _owner(deepest)


def _all(seen: list[Seen]) -> Seen | None:
    """Return the last of some batches with the images of all, for any may be the cause."""
    return seen[-1]._replace(paths=[path for batch in seen for path in batch.paths]) if seen else None


@contextmanager
def _watched(model: torch.nn.Module) -> Iterator[list[str]]:
    """Collect the names of modules whose outputs are not finite, in the order in which they end."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(module: torch.nn.Module, args: Any, output: Any) -> None:
            if not found and not is_finite(output):
                found.append(name)

        return look

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _owner(tensor: str) -> str:
    """Return the module that a parameter or buffer belongs to, by its name."""
    return tensor.rpartition(".")[0]


def _row(session: Session, module: str) -> str:
    """Return the row of the model YAML that a module belongs to, as a remark."""
    parts = module.split(".")
    if len(parts) < 2 or parts[0] != "model" or not parts[1].isdecimal():
        return ""
    return f" (row {parts[1]}, {session.model.rows[int(parts[1])].name})"
