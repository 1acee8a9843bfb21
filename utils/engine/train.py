"""The training loop."""

import logging
import math
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from models.summary import summary_line
from utils.checkpoint.load import load_model
from utils.checkpoint.native import save_checkpoint
from utils.device import autocast
from utils.engine.build import Session, build_session
from utils.engine.configs import TrainConfig
from utils.engine.epoch import train_epoch
from utils.engine.evaluate import Evaluation, evaluate
from utils.engine.observers import BatchPictures, MetricCharts
from utils.errors import DivergedError
from utils.loggers.row import epoch_row
from utils.plots.labels import plot_labels
from utils.plots.results import plot_results

log = logging.getLogger(__name__)

FEW_UPDATES = 10  # optimizer steps of a run below which it is said that they are few


def train(cfg: TrainConfig) -> Path:
    """Train, validate and save a model; return the run folder."""
    session = build_session(cfg)
    _announce(session)
    start = time.monotonic()

    saved = None  # the last epoch whose weights are there
    for epoch in range(cfg.epochs):
        try:
            losses = train_epoch(session, epoch)
            last = epoch + 1 == cfg.epochs or session.stopper.may_stop_at(epoch)
            evaluation = validate(session) if cfg.val or last else None
            stop = session.stopper.stops(epoch, evaluation.fitness if evaluation else None)
            if cfg.save or last:
                _save(session, epoch, evaluation)  # first: a logger that fails costs no weights
                saved = epoch
        except DivergedError as error:
            raise _diverged(session, epoch, saved, error) from error
        _log_epoch(session, epoch, losses, evaluation)
        if stop:
            log.info("stopped: no improvement since epoch %d (--patience %d)", session.stopper.best_epoch, cfg.patience)
            break

    log.info("\n%d epochs in %.3f hours", epoch + 1, (time.monotonic() - start) / 3600)
    _finish(session)
    return session.run_dir


def _diverged(session: Session, epoch: int, saved: int | None, error: DivergedError) -> DivergedError:
    """Return the error with where it happened and what is left."""
    left = "no epoch was saved" if saved is None else f"{session.weights_dir / 'last.pt'} holds epoch {saved}"
    narrow = "give --no-amp, " if session.amp_dtype == torch.float16 else ""  # above 65504 float16 is infinite
    return DivergedError(f"training diverged in epoch {epoch}: {error.what}; {left}", narrow + error.fix)


def validate(session: Session) -> Evaluation:
    """Evaluate the averaged weights on the validation images, with losses."""

    def predict(images):
        with autocast(session.device, session.amp_dtype):
            return session.ema.ema(images)

    names, device = session.spec.names, session.device
    return evaluate(predict, session.val_loader, names=names, device=device, loss=session.loss)


def _announce(session: Session) -> None:
    s = session
    log.info(summary_line(s.model, s.imgsz))
    precision = "float32" if s.amp_dtype is None else f"autocast to {str(s.amp_dtype).removeprefix('torch.')}"
    log.info("device %s, %s, %d loader processes", s.device, precision, s.train_loader.workers)
    steps = len(s.train_loader)
    log.info("images %d px, %d epochs of %d batches; results go to %s", s.imgsz, s.cfg.epochs, steps, s.run_dir)
    updates = s.schedule.updates(limit=FEW_UPDATES)
    if updates < FEW_UPDATES:
        log.warning(
            "optimizer steps in the whole run: only %d (%d batches make one, fewer while warming up); "
            "more epochs, or a smaller nominal_batch in the hyper-parameters, give more",
            *(updates, s.schedule.batches_per_update),
        )
    if s.cfg.plots:
        plot_labels(np.concatenate(s.train_scan.labels), s.spec.names, s.run_dir / "labels.jpg")


def _log_epoch(session: Session, epoch: int, losses: list[float], evaluation: Evaluation | None) -> None:
    """Give the figures of an epoch to every logger; those of an epoch without validation are nan."""
    figures = evaluation.figures() if evaluation else [math.nan] * 4
    val_losses = evaluation.losses if evaluation else [math.nan] * 3
    rates = [group["lr"] for group in session.stepper.optimizer.param_groups[:3]]
    row = epoch_row(epoch, losses, figures, val_losses, rates)
    for logger in session.loggers:
        logger.epoch(row)


def _save(session: Session, epoch: int, evaluation: Evaluation | None) -> None:
    """Write last.pt, and best.pt where this epoch is the best so far."""
    s = session
    training = {"opt": asdict(s.cfg), "hyp": s.hyp, "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    facts = {"epoch": epoch, "fitness": max(s.stopper.best_fitness, 0.0), "training": training, "imgsz": s.imgsz}
    save_checkpoint(s.weights_dir / "last.pt", s.ema.ema, **facts)
    best = s.weights_dir / "best.pt"
    if (evaluation and s.stopper.best_epoch == epoch) or not best.exists():
        save_checkpoint(best, s.ema.ema, **facts)


def _finish(session: Session) -> None:
    """Validate best.pt as it is deployed (fused, float32), draw the charts, and say where everything is."""
    s = session
    best = s.weights_dir / "best.pt"
    model = load_model(best).fuse().to(s.device, memory_format=torch.channels_last)  # timm fuses on the CPU only
    log.info("\n%s", summary_line(model, s.imgsz))
    observers = [BatchPictures(s.run_dir, s.spec.names), MetricCharts(s.run_dir, s.spec.names)] if s.cfg.plots else []
    evaluation = evaluate(
        lambda images: model(images)[0], s.val_loader, names=s.spec.names, device=s.device, observers=observers
    )
    if s.spec.nc > 1:
        log.info(evaluation.class_rows())
    table = s.run_dir / "results.csv"
    if s.cfg.plots and table.exists():
        plot_results(table, s.run_dir / "results.png")
    for logger in s.loggers:
        for picture in sorted([*s.run_dir.glob("*.png"), *s.run_dir.glob("*.jpg")]):
            logger.image(picture.stem, picture)
        logger.finish()
    log.info("\nresults in %s, weights: %s", s.run_dir, best)
