"""The training loop."""

import logging
import math
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.summary import summary_line
from utils.checkpoint.load import load_model
from utils.collective import copy_from_first, join, leave
from utils.configs.train import TrainConfig
from utils.device import autocast, clear_memory, select_device, usable_cpus
from utils.dist import rank, world
from utils.errors import DivergedError, StorageError
from utils.evaluation.evaluate import Evaluation, evaluate
from utils.evaluation.observers import BatchPictures, MetricCharts
from utils.file_lock import unlock
from utils.held_signals import held_signals
from utils.launch import launch, tell_result
from utils.loggers.row import epoch_row
from utils.plots.labels import plot_labels
from utils.plots.results import plot_results
from utils.predictions import Predictions
from utils.text import counted, duration
from utils.training.epoch import train_epoch
from utils.training.fitness import fitness_of
from utils.training.halving import forget, half_batch
from utils.training.inputs import check_together
from utils.training.record import close, note_result
from utils.training.recovery import recover
from utils.training.resume import device_of_run
from utils.training.saving import check_room, save_last, save_weights
from utils.training.session import Session, build_session
from utils.training.spent import VALIDATION
from utils.training.time_budget import fit_epochs

log = logging.getLogger(__name__)

Watch = Callable[[int, float | None, Mapping[str, float]], None]  # epoch; its fitness, if validated; its row of figures

FEW_UPDATES = 10  # optimizer steps of a run below which it is said that they are few


def train(cfg: TrainConfig, watch: Watch | None = None) -> Path:
    """Train, validate and save a model, or go on with the run of --resume; return the run folder.

    ``watch`` is told of every epoch, and may raise to end the run, one of many that are compared: neither is it
    validated once more at its end, nor are charts drawn, nor is its batch halved. It is called in this process, so
    there must be one device.
    """
    name = cfg.device or device_of_run(cfg)
    if "," in name and world() == 1:
        if cfg.resume is None:
            check_together(cfg)  # before others are started
        return launch(replace(cfg, device=name))
    device = select_device(name)
    join(device)
    session = build_session(cfg)
    while smaller := _run(session, cfg, watch):
        run_dir, spent = session.run_dir, session.budget.spent if session.budget else 0.0
        del session  # with all that is in the memory
        clear_memory(device)
        session = build_session(replace(cfg, batch_size=smaller), run_dir)
        if session.budget:
            session.budget.before = spent  # what was for nothing took time too
    tell_result(session.run_dir)
    return session.run_dir


def _run(session: Session, cfg: TrainConfig, watch: Watch | None) -> int:
    """Train to the end and return 0; where the first epoch lacks memory, the batch size to start again with."""
    completed, start = False, time.monotonic()
    try:
        _announce(session)
        if rank() == 0:
            check_room(session)
        _train_epochs(session, watch)
        leave()
        if rank() == 0 and watch is None:
            _finish(session)
        completed = True
    except (KeyboardInterrupt, SystemExit, StorageError):  # Ctrl-C, SIGTERM, a full disk
        if watch is None:
            _say_how_to_go_on(session)
        raise
    except RuntimeError as error:
        smaller = half_batch(session, cfg, error) if watch is None else 0
        if not smaller:
            raise
        forget(session)
        return smaller
    finally:
        session.cores.release()
        close(session, completed, time.monotonic() - start)
        if session.lock:
            unlock(session.lock)
    return 0


def _train_epochs(session: Session, watch: Watch | None) -> None:
    s, start, first = session, time.monotonic(), session.state.epoch
    while not _is_over(s):
        try:
            losses = _train_one(s)
            with s.spent.on(VALIDATION):
                evaluation = validate(s) if _is_validated(s) else None
            with held_signals():
                row = _close_epoch(s, losses, evaluation)
        except DivergedError as error:
            recover(s, error)
            continue
        for logger in s.loggers:
            logger.epoch(row)
        if watch:
            watch(s.state.epoch - 1, _fitness(s, evaluation), row)
        s.spent.tell(s.train_loader.workers, usable_cpus())
    if s.state.epoch < s.epochs:
        log.info("stopped: no improvement since epoch %d (--patience %d)", s.stopper.best_epoch, s.cfg.patience)
    log.info("\n%s in %s", counted(s.state.epoch - first, "epoch"), duration(time.monotonic() - start))


def _is_over(session: Session) -> bool:
    """Return whether all epochs are trained, or enough of them brought no improvement."""
    epoch = session.state.epoch
    return epoch >= session.epochs or (epoch > 0 and session.stopper.may_stop_at(epoch - 1))


def _is_last(session: Session) -> bool:
    """Return whether the epoch may be the last, so that it is validated and saved in any case."""
    epoch = session.state.epoch
    return epoch + 1 == session.epochs or session.stopper.may_stop_at(epoch)


def _is_validated(session: Session) -> bool:
    return session.cfg.val or _is_last(session)


def _train_one(session: Session) -> list[float]:
    """Train the rest of an epoch and return its losses; a signal ends it behind a batch, once the state is saved."""
    s = session
    with held_signals() as caught:
        losses = train_epoch(s, caught)
        fit_epochs(s)
        if caught.number or (s.cfg.save and _is_validated(s)):  # a validation may take long
            save_last(s)
    return losses


def _close_epoch(session: Session, losses: list[float], evaluation: Evaluation | None) -> dict[str, float]:
    """Note what came of an epoch, save it, and return its figures; those that were not measured are nan."""
    s, is_last = session, _is_last(session)
    epoch = s.state.epoch
    s.stopper.stops(epoch, _fitness(s, evaluation))
    if evaluation and s.image_weights:
        s.image_weights.update(evaluation.metrics.maps(s.spec.nc))
    terms = s.loss.terms
    figures = evaluation.figures() if evaluation else [math.nan] * 4
    val_losses = evaluation.losses if evaluation else [math.nan] * len(terms)
    rates = [group["lr"] for group in s.stepper.optimizer.param_groups[:3]]
    row = epoch_row(epoch, terms, losses, figures, val_losses, rates)
    s.state.next_epoch(row)
    if s.cfg.save or is_last:  # before it is logged: a logger that fails costs no weights
        if (evaluation and s.stopper.best_epoch == epoch) or not (s.weights_dir / "best.pt").exists():
            save_weights(s, "best.pt", half=True)  # before last.pt, which would go on behind this epoch
        if s.cfg.save_period > 0 and epoch % s.cfg.save_period == 0:
            save_weights(s, f"epoch{epoch}.pt")
        save_last(s)
    return row


def _fitness(session: Session, evaluation: Evaluation | None) -> float | None:
    return fitness_of(session.cfg.fitness, evaluation.metrics, session.spec.names) if evaluation else None


def _say_how_to_go_on(session: Session) -> None:
    """Say what an interrupted run leaves, and what to do with it."""
    state, resume = session.state, f"--resume {shlex.quote(str(session.run_dir))}"
    if state.saved is None:
        log.warning("\nstopped in epoch %d, nothing was saved yet: %s is empty", state.epoch, session.weights_dir)
    elif _is_over(session) and state.saved == (state.epoch, state.batch):
        log.warning(
            "\nstopped after the last epoch, only charts are missing; best.pt and last.pt are in %s",
            session.weights_dir,
        )
        log.warning("to make them: %s", resume)
    else:
        epoch, batch = state.saved
        log.warning(
            "\nstopped in epoch %d, saved up to batch %d of epoch %d: %s", state.epoch, batch, epoch, session.last
        )
        log.warning("to go on from there: %s", resume)


def validate(session: Session) -> Evaluation:
    """Evaluate the averaged weights on the validation images, with losses."""

    def predict(images):
        with autocast(session.device, session.amp_dtype):
            output, maps = session.ema.ema(images)
        return Predictions(output, session.ema.ema.head.layout), maps

    names, device = session.spec.names, session.device
    copy_from_first(list(session.ema.ema.state_dict().values()))  # without --sync-bn, each has other statistics
    return evaluate(predict, session.val_loader, names=names, device=device, loss=session.loss)


def _announce(session: Session) -> None:
    s = session
    log.info(summary_line(s.model, s.imgsz))
    precision = "float32" if s.amp_dtype is None else f"autocast to {str(s.amp_dtype).removeprefix('torch.')}"
    log.info("device %s, %s, %s", s.device, precision, counted(s.train_loader.workers, "loader process"))
    epochs = f"as many epochs as fit into {s.cfg.time:g} h" if s.budget else counted(s.epochs, "epoch")
    amount = f"{epochs} of {counted(len(s.train_loader), 'batch')}"
    log.info("images %d×%d px, %s; results go to %s", *s.shape, amount, s.run_dir)
    if s.state.saved:
        _announce_resumed(s)
        return
    updates = s.schedule.updates(limit=FEW_UPDATES)
    if updates < FEW_UPDATES and not s.budget:
        log.warning(
            "optimizer steps in the whole run: only %d (%s to one, fewer while warming up); "
            "more epochs, or a smaller nominal_batch in the hyper-parameters, give more",
            *(updates, counted(s.schedule.batches_per_update, "batch")),
        )
    if s.cfg.plots and rank() == 0:
        plot_labels(np.concatenate(s.scans[0].labels), s.spec.names, s.run_dir / "labels.jpg")


def _announce_resumed(session: Session) -> None:
    s, state = session, session.state
    if not _is_over(s):
        log.info("resumed: %s, from batch %d of epoch %d on", counted(s.epochs, "epoch"), state.batch, state.epoch)
        return
    over = "all epochs are trained" if state.epoch >= s.epochs else f"stopped by --patience {s.cfg.patience}"
    longer = "a larger --time" if s.budget else f"--epochs {state.epoch + 1} or more"
    more = longer if state.epoch >= s.epochs else "a larger --patience"
    log.info("resumed: %s: only the last validation and the charts are made anew; %s goes on", over, more)


def _finish(session: Session) -> None:
    """Validate best.pt as it is deployed (fused, float32), draw the charts, and say where everything is."""
    s = session
    s.val_loader.take_part(0, 1)
    best = s.weights_dir / "best.pt"
    model = load_model(best).fuse().to(s.device, memory_format=torch.channels_last)  # timm fuses on the CPU only
    log.info("\n%s", summary_line(model, s.imgsz))
    charts = MetricCharts(s.run_dir, s.spec.names)
    observers = [BatchPictures(s.run_dir, s.spec.names), charts] if s.cfg.plots else []
    evaluation = evaluate(model.predict, s.val_loader, names=s.spec.names, device=s.device, observers=observers)
    note_result(s.record, evaluation, charts.confusion.matrix if s.cfg.plots else None)
    if s.spec.nc > 1:
        log.info(evaluation.class_rows())
    table = s.run_dir / "results.csv"
    if s.cfg.plots and table.exists():
        plot_results(table, s.run_dir / "results.png")
    log.info("\nresults in %s", s.run_dir)
    log.info("weights: %s", best)
