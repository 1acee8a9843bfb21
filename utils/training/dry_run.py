"""Try a training on a few batches: what each part of a step takes, what the run will, and how much memory it needs."""

import logging
from statistics import fmean

import torch

from models.summary import summary_line
from utils.configs.train import TrainConfig
from utils.data.batch import Batch
from utils.device import autocast, memory_gb, now, to_float_images, usable_cpus
from utils.dist import world
from utils.errors import ConfigError
from utils.evaluation.evaluate import val_nms
from utils.predictions import Predictions
from utils.text import counted, rough_duration
from utils.training.epoch import network_input
from utils.training.multi_scale import largest_size, resized, size_grid
from utils.training.session import Session, build_session

log = logging.getLogger(__name__)

MEASURED = 3  # training batches
SHOWN = 3  # problems of the data set
Times = dict[str, float]  # part of the work → seconds


def dry_run(cfg: TrainConfig) -> None:
    """Train and validate a few batches of a run and log what that says of the whole; no folder is made for it.

    The batches are made in this process, one by one; how loader processes would work beside is computed.
    Raises: UserError, as a run.
    """
    if cfg.resume is not None:
        raise ConfigError("--dry-run tries a new run, --resume goes on with one", "leave one of them out")
    if "," in cfg.device or world() > 1:
        raise ConfigError("--dry-run tries one process on one device", "start it without torchrun, with one --device")
    session = build_session(cfg)
    try:
        train, val = _train(session), _validate(session)
    finally:
        session.cores.release()
    _log_data(session)
    _log_times(session, train, val)


def _train(session: Session) -> Times:
    """Train the first batches, after one that warms up, and return the mean times."""
    s = session
    s.model.train()
    s.freezing.start(s.cfg.unfreeze_epoch or 0)  # most epochs are those behind it, and they need more memory
    full = max(len(s.train_loader) - 1, 1)  # the last batch may be smaller
    _train_batch(s, 0, is_largest=True)
    times = [_train_batch(s, number) for number in range(min(MEASURED, full))]
    return {part: fmean(each[part] for each in times) for part in times[0]}


def _train_batch(session: Session, number: int, *, is_largest: bool = False) -> Times:
    """Train one batch of the first epoch, of the largest size that --multi-scale may draw if so wished."""
    s, watch = session, _Watch(session.device)
    batch = s.train_loader.batches[0, number]
    watch.lap("load")
    s.schedule.set(number, 0)
    images = _at_size(s, batch, number, is_largest)
    with autocast(s.device, s.amp_dtype):
        maps = s.network(images)
    watch.lap("forward")
    loss, _ = s.loss(maps, batch.targets)
    watch.lap("loss")
    s.stepper.backward(s.loss_factor * loss)
    watch.lap("backward")
    s.stepper.step(s.stepper.last_step + 1, 1)
    watch.lap("step")
    return watch.laps


def _at_size(session: Session, batch: Batch, number: int, is_largest: bool) -> torch.Tensor:
    s = session
    if not (s.cfg.multi_scale and is_largest):
        return network_input(s, batch, 0, number)
    images, grid = to_float_images(batch.images, s.device), size_grid(s.model.size_multiple)
    return resized(images, largest_size(max(images.shape[-2:]), grid), grid)


@torch.no_grad()
def _validate(session: Session) -> Times:
    """Validate the batch in the middle, whose shape is neither the widest nor the highest, twice; time the second."""
    s, ema = session, session.ema.ema
    for _ in range(2):
        watch = _Watch(s.device)
        batch = s.val_loader.batches[0, len(s.val_loader) // 2]
        watch.lap("load")
        images = to_float_images(batch.images, s.device)
        with autocast(s.device, s.amp_dtype):
            output, maps = ema(images)
        s.loss(maps, batch.targets)
        val_nms(Predictions(output, ema.head.layout))
        watch.lap("validate")
    return watch.laps


class _Watch:
    """Measures one part after another; a GPU has finished each."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.since, self.laps = device, now(device), {}

    def lap(self, part: str) -> None:
        """Note the seconds since the part before."""
        time = now(self.device)
        self.laps[part], self.since = time - self.since, time


def _log_data(session: Session) -> None:
    problems = [problem for scan in session.scans for problem in scan.problems]
    if problems:
        log.warning("%s of the data set, which a run lists in skipped.txt:", counted(len(problems), "problem"))
        log.warning("\n".join(f"  {problem}" for problem in problems[:SHOWN]))


def _log_times(session: Session, train: Times, val: Times) -> None:
    s, cfg = session, session.cfg
    log.info(summary_line(s.model, s.imgsz))
    log.info("\na training batch of %s, on %s:", counted(min(cfg.batch_size, len(s.scans[0])), "image"), s.device)
    notes = {"load": f"by one process; a run has {s.train_loader.workers}", "step": _often(s)}
    for part, seconds in train.items():
        log.info("%10s %10.1f ms%s", part, 1e3 * seconds, f"  ({notes[part]})" if part in notes else "")
    log.info("a validation batch of %s:", counted(s.val_loader.batches.batch_size, "image"))
    for part, seconds in val.items():
        log.info("%10s %10.1f ms", part, 1e3 * seconds)
    steps, checks = len(s.train_loader), len(s.val_loader)
    trained = steps * _paced(s, train, s.train_loader.workers)
    validated = checks * _paced(s, val, s.val_loader.workers)
    total = cfg.epochs * trained + (cfg.epochs + 1 if cfg.val else 2) * validated  # best.pt once more, at the end
    run = f"about {rough_duration(total)} for {counted(cfg.epochs, 'epoch')}"
    if s.budget:
        run = f"about {cfg.time * 3600 / (trained + validated * cfg.val):.0f} epochs in {cfg.time:g} h (--time)"
    log.info("\nan epoch: about %s for %s", rough_duration(trained), counted(steps, "batch"))
    log.info("a validation: about %s for %s", rough_duration(validated), counted(checks, "batch"))
    log.info("the run: %s", run)
    where = "on the GPU" if s.device.type == "cuda" else "in this process, besides what loader processes need"
    log.info("peak memory: %.3g GB %s", memory_gb(s.device), where)
    log.info("no run folder was made; without --dry-run the run starts")


def _often(session: Session) -> str:
    batches = session.schedule.batches_per_update
    return "after every batch" if batches == 1 else f"after every {batches} batches, fewer while warming up"


def _paced(session: Session, times: Times, workers: int) -> float:
    """Return the seconds of a batch in a run, where ``workers`` load the next ones.

    Beside a GPU they only make it wait if they are slower; on a CPU they take their time from the same cores.
    """
    load = times["load"]
    rest = sum(times.values()) - load
    if "step" in times:
        rest -= times["step"] * (1 - 1 / session.schedule.batches_per_update)
    if not workers:
        return load + rest
    return rest + load / usable_cpus() if session.device.type == "cpu" else max(rest, load / workers)
