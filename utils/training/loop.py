"""The training loop."""

import logging
import math
import shlex
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from models.summary import summary_line
from utils.checkpoint.load import load_model
from utils.checkpoint.native import save_checkpoint
from utils.config import option_values
from utils.configs.train import TrainConfig
from utils.device import autocast
from utils.errors import DivergedError
from utils.evaluation.evaluate import Evaluation, evaluate
from utils.evaluation.observers import BatchPictures, MetricCharts
from utils.loggers.row import epoch_row
from utils.plots.labels import plot_labels
from utils.plots.results import plot_results
from utils.predictions import Predictions
from utils.text import counted, duration
from utils.training.epoch import train_epoch
from utils.training.session import Session, build_session

log = logging.getLogger(__name__)

FEW_UPDATES = 10  # optimizer steps of a run below which it is said that they are few


@dataclass
class Progress:
    """How far a run has come, for what is said when it ends early."""

    epoch: int = 0
    saved: int | None = None  # the last epoch whose weights are there
    trained: bool = False  # only the last validation and the charts are missing


def train(cfg: TrainConfig) -> Path:
    """Train, validate and save a model; return the run folder."""
    session = build_session(cfg)
    _announce(session)
    progress = Progress()
    try:
        _train_epochs(session, progress)
        _finish(session)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C or SIGTERM
        _say_how_to_go_on(session, progress)
        raise
    return session.run_dir


def _train_epochs(session: Session, progress: Progress) -> None:
    cfg, start = session.cfg, time.monotonic()
    for epoch in range(cfg.epochs):
        progress.epoch = epoch
        try:
            losses = train_epoch(session, epoch)
            last = epoch + 1 == cfg.epochs or session.stopper.may_stop_at(epoch)
            evaluation = validate(session) if cfg.val or last else None
            stop = session.stopper.stops(epoch, evaluation.fitness if evaluation else None)
            if cfg.save or last:
                _save(session, epoch, evaluation)  # first: a logger that fails costs no weights
                progress.saved = epoch
        except DivergedError as error:
            raise _diverged(session, progress, error) from error
        _log_epoch(session, epoch, losses, evaluation)
        if stop:
            log.info("stopped: no improvement since epoch %d (--patience %d)", session.stopper.best_epoch, cfg.patience)
            break
    progress.trained = True
    log.info("\n%s in %s", counted(epoch + 1, "epoch"), duration(time.monotonic() - start))


def _say_how_to_go_on(session: Session, progress: Progress) -> None:
    """Say what an interrupted run leaves, and what to do with it."""
    folder, last = session.weights_dir, session.weights_dir / "last.pt"
    if progress.saved is None:
        log.warning("\nstopped in epoch %d, nothing was saved yet: no weights in %s", progress.epoch, folder)
    elif progress.trained:
        log.warning("\nstopped after the last epoch, only charts are missing: best.pt and last.pt are in %s", folder)
    else:
        log.warning("\nstopped in epoch %d, saved up to epoch %d: %s", progress.epoch, progress.saved, last)
        log.warning("to go on from there (the learning rate starts anew): --weights %s", shlex.quote(str(last)))


def _diverged(session: Session, progress: Progress, error: DivergedError) -> DivergedError:
    """Return the error with where it happened and what is left."""
    last, saved = session.weights_dir / "last.pt", progress.saved
    left = "no epoch was saved" if saved is None else f"{last} holds epoch {saved}"
    narrow = "give --no-amp, " if session.amp_dtype == torch.float16 else ""  # above 65504 float16 is infinite
    return DivergedError(f"training diverged in epoch {progress.epoch}: {error.what}; {left}", narrow + error.fix)


def validate(session: Session) -> Evaluation:
    """Evaluate the averaged weights on the validation images, with losses."""

    def predict(images):
        with autocast(session.device, session.amp_dtype):
            output, maps = session.ema.ema(images)
        return Predictions(output, session.ema.ema.head.layout), maps

    names, device = session.spec.names, session.device
    return evaluate(predict, session.val_loader, names=names, device=device, loss=session.loss)


def _announce(session: Session) -> None:
    s = session
    log.info(summary_line(s.model, s.imgsz))
    precision = "float32" if s.amp_dtype is None else f"autocast to {str(s.amp_dtype).removeprefix('torch.')}"
    log.info("device %s, %s, %s", s.device, precision, counted(s.train_loader.workers, "loader process"))
    amount = f"{counted(s.cfg.epochs, 'epoch')} of {counted(len(s.train_loader), 'batch')}"
    log.info("images %d px, %s; results go to %s", s.imgsz, amount, s.run_dir)
    updates = s.schedule.updates(limit=FEW_UPDATES)
    if updates < FEW_UPDATES:
        log.warning(
            "optimizer steps in the whole run: only %d (%s to one, fewer while warming up); "
            "more epochs, or a smaller nominal_batch in the hyper-parameters, give more",
            *(updates, counted(s.schedule.batches_per_update, "batch")),
        )
    if s.cfg.plots:
        plot_labels(np.concatenate(s.train_scan.labels), s.spec.names, s.run_dir / "labels.jpg")


def _log_epoch(session: Session, epoch: int, losses: list[float], evaluation: Evaluation | None) -> None:
    """Give the figures of an epoch to every logger; those of an epoch without validation are nan."""
    figures = evaluation.figures() if evaluation else [math.nan] * 4
    terms = session.loss.terms
    val_losses = evaluation.losses if evaluation else [math.nan] * len(terms)
    rates = [group["lr"] for group in session.stepper.optimizer.param_groups[:3]]
    row = epoch_row(epoch, terms, losses, figures, val_losses, rates)
    for logger in session.loggers:
        logger.epoch(row)


def _save(session: Session, epoch: int, evaluation: Evaluation | None) -> None:
    """Write last.pt, and best.pt where this epoch is the best so far."""
    s = session
    training = {
        "opt": option_values(s.cfg),
        "hyp": s.hyp,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    facts = {"epoch": epoch, "fitness": max(s.stopper.best_fitness, 0.0), "training": training, "imgsz": s.imgsz}
    save_checkpoint(s.weights_dir / "last.pt", s.ema.ema, **facts)
    best = s.weights_dir / "best.pt"
    if (evaluation and s.stopper.best_epoch == epoch) or not best.exists():
        save_checkpoint(best, s.ema.ema, half=True, **facts)


def _finish(session: Session) -> None:
    """Validate best.pt as it is deployed (fused, float32), draw the charts, and say where everything is."""
    s = session
    best = s.weights_dir / "best.pt"
    model = load_model(best).fuse().to(s.device, memory_format=torch.channels_last)  # timm fuses on the CPU only
    log.info("\n%s", summary_line(model, s.imgsz))
    observers = [BatchPictures(s.run_dir, s.spec.names), MetricCharts(s.run_dir, s.spec.names)] if s.cfg.plots else []
    evaluation = evaluate(model.predict, s.val_loader, names=s.spec.names, device=s.device, observers=observers)
    if s.spec.nc > 1:
        log.info(evaluation.class_rows())
    table = s.run_dir / "results.csv"
    if s.cfg.plots and table.exists():
        plot_results(table, s.run_dir / "results.png")
    for logger in s.loggers:
        for picture in sorted([*s.run_dir.glob("*.png"), *s.run_dir.glob("*.jpg")]):
            logger.image(picture.stem, picture)
        logger.finish()
    log.info("\nresults in %s", s.run_dir)
    log.info("weights: %s", best)
