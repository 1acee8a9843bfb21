"""The training loop on three pictures: in which order things happen, and what does not end a run."""

from math import nan

import pytest
import torch
from tiny_detector import TINY

from models.detector import DetectionModel
from utils.benchmark.measure import measure_backbone
from utils.checkpoint.load import load_checkpoint
from utils.configs.benchmark import BenchmarkConfig
from utils.configs.train import TrainConfig
from utils.errors import DivergedError, StorageError
from utils.losses.anchor_loss import DetectionLoss
from utils.runs import ROOT
from utils.training import loop
from utils.training import parts as parts_module
from utils.training import session as session_module
from utils.training.ema import ModelEMA
from utils.training.loop import train
from utils.yaml_file import read_yaml, write_yaml

SETTINGS = {"cfg": "tiny.yaml", "data": "pets.yaml", "imgsz": 64, "epochs": 1, "batch_size": 2, "workers": 0}


@pytest.fixture
def moves(monkeypatch):
    """What is done to models: ``fuse`` and ``to``."""
    done = []
    fuse, to = DetectionModel.fuse, DetectionModel.to
    monkeypatch.setattr(DetectionModel, "fuse", lambda self: done.append("fuse") or fuse(self))
    monkeypatch.setattr(DetectionModel, "to", lambda self, *a, **k: done.append("to") or to(self, *a, **k))
    return done


def test_the_best_model_is_fused_before_it_goes_to_the_device(folder, moves):
    train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    assert moves[-2:] == ["fuse", "to"]


def test_the_benchmark_fuses_before_the_model_goes_to_the_device(folder, moves):
    next(measure_backbone(BenchmarkConfig(**SETTINGS, device="cpu"), "own", folder, lambda *_: None))

    assert moves[-2:] == ["fuse", "to"]


@pytest.mark.parametrize(("dtype", "hint"), [(torch.float16, True), (torch.bfloat16, False), (None, False)])
def test_divergence_in_float16_suggests_full_precision(folder, monkeypatch, dtype, hint):
    monkeypatch.setattr(parts_module, "autocast_dtype", lambda device, amp: dtype)
    monkeypatch.setattr(DetectionLoss, "forward", lambda self, maps, _: (maps[0].sum() * nan, torch.full((3,), nan)))

    with pytest.raises(DivergedError) as error:
        train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    assert ("--no-amp" in error.value.fix) == hint


def break_gradient_at(monkeypatch, step):
    """From batch ``step`` of the run on, make the loss 0 with a gradient that is NaN."""
    calls = []

    def forward(self, maps, _):
        calls.append(len(maps[0]))
        zero = maps[0].sum() * 0
        loss = zero.sqrt() if len(calls) > step else zero + maps[0].square().mean()
        return loss, torch.zeros(3)

    monkeypatch.setattr(DetectionLoss, "forward", forward)


@pytest.mark.parametrize(("step", "saved"), [(1, None), (3, 0)])
def test_a_gradient_that_is_not_finite_in_the_last_step_of_an_epoch_spoils_no_file(folder, monkeypatch, step, saved):
    break_gradient_at(monkeypatch, step)  # two batches an epoch; without validation, whose losses would count
    settings = SETTINGS | {"epochs": 3, "val": False, "plots": False, "hyp": "hyp.yaml"}
    write_yaml(
        "hyp.yaml", read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"nominal_batch": 2, "warmup_epochs": 0}
    )

    with pytest.raises(DivergedError, match="gradients are not finite") as error:
        train(TrainConfig(**settings, device="cpu"))

    files = sorted(path.name for path in folder.glob("runs/train/exp/weights/*"))
    assert "model." in error.value.what and error.value.exit_code == 4
    if saved is None:
        assert "nothing was saved" in error.value.what
        assert files == []
    else:
        assert f"last.pt holds the run up to batch 0 of epoch {saved + 1}" in error.value.what
        assert files == ["best.pt", "last.pt"]
        for name in files:
            assert (
                load_checkpoint(folder / "runs/train/exp/weights" / name).epoch == saved
            )  # refuses what is not finite


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (4, 1), (40, 8)])
def test_a_run_of_fewer_batches_than_a_step_takes_makes_one_and_says_so(folder, monkeypatch, caplog, epochs, steps):
    done = []
    monkeypatch.setattr(ModelEMA, "update", lambda self: done.append(1))
    write_yaml(
        "hyp.yaml", read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"nominal_batch": 20, "warmup_epochs": 0}
    )
    settings = SETTINGS | {"epochs": epochs, "val": False, "save": False, "plots": False, "hyp": "hyp.yaml"}
    caplog.set_level("WARNING")

    train(TrainConfig(**settings, device="cpu"))

    assert len(done) == steps
    assert f"optimizer steps in the whole run: only {steps} (" in caplog.text


def test_the_weights_of_an_epoch_are_there_before_it_is_logged_and_a_logger_is_closed_in_any_case(folder, monkeypatch):
    closed = []

    class Failing:
        def epoch(self, row):
            raise ZeroDivisionError

        def finish(self, completed):
            assert not completed
            closed.append(self)

    monkeypatch.setattr(session_module, "build_loggers", lambda run, names: [Failing()])

    with pytest.raises(ZeroDivisionError):
        train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    names = sorted(path.name for path in folder.glob("runs/train/exp/weights/*"))
    assert names == ["best.pt", "last.prev.pt", "last.pt"]
    assert len(closed) == 1


def test_a_table_that_can_never_be_written_does_not_end_the_training(folder, monkeypatch):
    def no_writing(path, text):
        raise StorageError(f"{path}: cannot be written")

    monkeypatch.setattr("utils.loggers.csv.write_text", no_writing)

    run_dir = train(TrainConfig(**SETTINGS, device="cpu"))

    assert (run_dir / "weights/best.pt").is_file()
    assert (run_dir / "confusion_matrix.png").is_file()
    assert not (run_dir / "results.png").exists()


@pytest.mark.parametrize(("interrupt", "code"), [(KeyboardInterrupt, None), (SystemExit, 143)])
@pytest.mark.parametrize("epoch", [0, 2])
def test_an_interrupted_run_says_what_was_saved_and_how_to_go_on(folder, monkeypatch, caplog, interrupt, code, epoch):
    work = loop.train_epoch

    def train_epoch(session, caught):
        if session.state.epoch == epoch:
            raise interrupt(code)
        return work(session, caught)

    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    with pytest.raises(interrupt):
        train(TrainConfig(**SETTINGS | {"epochs": 3, "val": False}, device="cpu", plots=False))

    last = folder / "runs/train/exp/weights/last.pt"
    if epoch == 0:
        assert f"stopped in epoch 0, nothing was saved yet: {last.parent} is empty" in caplog.text
        assert "--resume" not in caplog.text
    else:
        assert f"stopped in epoch 2, saved up to batch 0 of epoch 2: {last}" in caplog.text
        assert f"--resume {last.parents[1]}" in caplog.text
        assert load_checkpoint(last).epoch == 1


def test_a_run_interrupted_at_its_last_validation_says_that_its_weights_are_whole(folder, monkeypatch, caplog):
    def finish(session):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_finish", finish)
    with pytest.raises(KeyboardInterrupt):
        train(TrainConfig(**SETTINGS, device="cpu", plots=False))

    assert f"only charts are missing; best.pt and last.pt are in {folder}" in caplog.text


def test_what_differs_from_the_defaults_is_shown_in_few_lines(folder, caplog):
    caplog.set_level("INFO")
    write_yaml("my hyp.yaml", read_yaml(ROOT / "data/hyps/hyp.scratch-low.yaml") | {"lr0": 0.002, "blur": 0.1})

    train(TrainConfig(**SETTINGS, device="cpu", plots=False, freeze=("0", "1"), hyp="my hyp.yaml"))

    block = [line for record in caplog.records if "settings" in record.name for line in record.message.splitlines()]
    assert block[0].startswith("differs from the defaults")
    options = " ".join(line.strip() for line in block[1:-1])
    assert options == (
        "options: --cfg tiny.yaml --data pets.yaml --hyp 'my hyp.yaml' --epochs 1 --batch-size 2 --imgsz 64 "
        "--device cpu --workers 0 --no-plots --freeze 0 1"
    )
    assert block[-1] == "  hyper-parameters: lr0 0.002, blur 0.1 (from my hyp.yaml)"
    assert "1 epoch of 2 batches" in caplog.text and "\n1 epoch in " in caplog.text


@pytest.mark.parametrize(("flag", "optimizer"), [(True, "AdamW"), (False, "SGD")])
def test_the_recipe_of_the_model_is_taken_unless_it_is_switched_off(folder, flag, optimizer):
    write_yaml("tiny.yaml", TINY | {"recipe": {"optimizer": "AdamW", "lr0": 0.002}})

    session = session_module.build_session(TrainConfig(**SETTINGS, device="cpu", recipe=flag))

    assert type(session.stepper.optimizer).__name__ == optimizer
    assert (session.hyp["lr0"] == 0.002) == flag
