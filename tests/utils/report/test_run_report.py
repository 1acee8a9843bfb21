"""Reports of runs of every kind: what they say, that they are harmless, small and ask nobody, and what is refused."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from utils.config import parse_config
from utils.configs.report import ReportConfig
from utils.errors import ConfigError
from utils.loggers.row import headings
from utils.losses import LOSSES
from utils.report.__main__ import main
from utils.report.charts import Curve, chart
from utils.report.folder import read_folder
from utils.report.one import run_page
from utils.report.origin import git_state
from utils.report.record import RunRecord, read_record
from utils.report.settings import changed, default_hyp
from utils.report.several import comparison_page, comparison_text, names_of
from utils.report.table import MAP, read_results
from utils.runs import ROOT
from utils.training.hyp import load_hyp
from utils.yaml_file import write_yaml

HEADINGS = headings(("box", "obj", "cls"))
HOSTILE = "<script>alert('1')</script>\x1b[31m\u202e"


def write_results(folder, maps):
    """Write a results.csv in which the last metric is ``maps`` and the others grow with it."""
    rows = [
        [epoch, 0.3, 0.2, 0.1, 0.5 * value, 0.6 * value, 1.2 * value, value, 0.3, 0.2, 0.1, 0.01, 0.01, 0.01]
        for epoch, value in enumerate(maps)
    ]
    lines = [",".join(f"{cell:>20}" for cell in line) for line in [HEADINGS, *rows]]
    (folder / "results.csv").write_text("\n".join(lines) + "\n")


def make_run(folder, maps=(0.1, 0.4, 0.3), **options):
    folder.mkdir(parents=True)
    write_results(folder, maps)
    write_yaml(folder / "opt.yaml", {"epochs": 3, "data": "pets.yaml", **options})
    write_yaml(folder / "hyp.yaml", {"lr0": 0.02, "lrf": 0.01})
    return folder


def picture(path, size=(64, 64)):
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, noise)[1])


class Reader(HTMLParser):
    """What a browser would see: text, tags, and the addresses that it would ask for."""

    VOID = {"meta", "link", "img"}

    def __init__(self, document):
        super().__init__()
        self.text, self.tags, self.addresses, self.open = "", set(), [], []
        self.feed(document)
        assert self.open == [], "a tag is not closed"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += f" {data}"


def page_of(folder):
    return Reader(run_page(read_folder(folder)))


def test_a_run_of_before_this_feature_gets_figures_settings_and_curves(tmp_path):
    found = page_of(make_run(tmp_path / "exp", imgsz=320))

    assert "0.4000 mAP50-95" in found.text  # of the best epoch, not the last
    assert " 1 best epoch" in found.text
    assert "3 of 3 epochs" in found.text
    assert re.search(r"imgsz\s+320\s+640", found.text)  # what differs, beside its default
    assert re.search(r"lr0\s+0.02\s+0.01", found.text)
    assert {"box loss", "learning rate"} <= set(re.findall(r"box loss|learning rate", found.text))
    assert "Environment" not in found.text


def test_nothing_is_asked_for_and_nothing_runs(tmp_path):
    run = make_run(tmp_path / "exp", name=HOSTILE, cfg=HOSTILE)
    picture(run / "val_batch0_labels.jpg")
    session = {"command": HOSTILE, "folder": HOSTILE, "environment": {HOSTILE: HOSTILE}, "git": {"commit": HOSTILE}}
    record = {
        "sessions": [session | {"state": HOSTILE, "seconds": 3.0, "parts": {HOSTILE: 1.0}}],
        "data": {"file": HOSTILE, "splits": {HOSTILE: {"images": HOSTILE}}},
        "names": [HOSTILE],
        "classes": [{"name": HOSTILE, "labels": 3, "precision": HOSTILE}],
        "confusion": [[3, 0], [0, 0]],
    }
    (run / "run.json").write_text(json.dumps(record))

    document = run_page(read_folder(run)) + comparison_page([read_folder(run), read_folder(make_run(tmp_path / "b"))])
    found = Reader(document)

    assert "script" not in found.tags
    assert "alert('1')" in found.text
    assert "\x1b" not in document and "\u202e" not in document
    assert [address for address in found.addresses if not address.startswith("data:")] == []
    assert not re.search(r"url\(|@import|https?://", document)
    assert "default-src 'none'" in document


def test_pictures_of_labels_stand_beside_those_of_predictions_and_the_page_stays_small(tmp_path):
    run = make_run(tmp_path / "exp")
    names = [f"val_batch{index}_{part}.jpg" for index in range(3) for part in ("labels", "pred")]
    for name in (*names, "train_batch0.jpg", "labels.jpg", "PR_curve.png", "F1_curve.png", "confusion_matrix.png"):
        picture(run / name, (1400, 1920))  # noise: no picture is larger

    main(parse_config(ReportConfig, [str(run)]))

    found = Reader((run / "report.html").read_text(encoding="utf-8"))
    assert (run / "report.html").stat().st_size < 5_000_000
    captions = re.findall(r"validation batch \d: what (?:is there|was found)", found.text)
    assert captions == [f"validation batch {i}: what {what}" for i in range(3) for what in ("is there", "was found")]


def test_a_picture_that_is_broken_costs_only_itself(tmp_path):
    run = make_run(tmp_path / "exp")
    (run / "val_batch0_pred.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing")
    picture(run / "val_batch0_labels.jpg")

    found = page_of(run)

    assert "val_batch0_pred.jpg cannot be read" in found.text
    assert "what is there" in found.text


@pytest.mark.parametrize("missing", ["opt.yaml", "hyp.yaml", "results.csv"])
def test_what_a_folder_lacks_is_left_out(tmp_path, missing):
    run = make_run(tmp_path / "exp")
    (run / missing).unlink()

    found = page_of(run)

    assert ("Curves" in found.text) == (missing != "results.csv")
    assert ("The same run again" in found.text) == (missing != "opt.yaml")


def test_a_run_of_yolov5_is_read_with_its_own_options(tmp_path):
    run = make_run(tmp_path / "exp", noval=False, evolve=None, bucket="", upload_dataset=False, quad=True, entity="us")

    found = page_of(run)

    assert re.search(r"entity\s+us\s+not set", found.text)
    assert not re.search(r"upload_dataset\s+False\s+not set", found.text)  # that it is off is no difference
    assert "python train.py --epochs 3 --data pets.yaml --quad" in found.text  # its opt.yaml is none of ours


@pytest.mark.parametrize(
    ("change", "epochs", "said"),
    [
        (lambda text: text.replace(",", ";"), [], "3 rows left out"),
        (lambda text: text.replace("0.4", "much"), [0, 2], "1 row left out"),
        (lambda text: text.replace("0.4000", "").replace(" 0.4,", ","), [0, 1, 2], ""),  # a cell without a figure
        (lambda text: text[:-40], [0, 1], ""),  # the last row is being written
        (lambda text: text.replace("mAP_0.5:0.95", "mAP50-95(B)"), [0, 1, 2], "has no column metrics/mAP_0.5:0.95"),
        (lambda text: text * 2, [0, 1, 2], ""),
    ],
)
def test_rows_and_columns_that_are_not_read_are_told(tmp_path, caplog, change, epochs, said):
    write_results(tmp_path, (0.1, 0.4, 0.3))
    table = tmp_path / "results.csv"
    table.write_text(change(table.read_text()))

    assert read_results(table).epochs == epochs
    assert said in caplog.text and bool(caplog.text) == bool(said)


@pytest.mark.parametrize(("file", "head"), [("scratch-low", "Detect"), ("yolov8", "AnchorFreeDetect")])
def test_the_default_hyper_parameters_are_no_differences(file, head):
    hyp = load_hyp(ROOT / f"data/hyps/hyp.{file}.yaml", LOSSES.get(head))

    assert hyp["nominal_batch"] == 64
    assert changed(hyp, default_hyp(hyp)) == {}


def test_an_interrupted_run_says_so(tmp_path):
    run = make_run(tmp_path / "exp", maps=(0.1,), epochs=9)
    RunRecord(run, {"command": "python train.py"}, {}, goes_on=False)
    assert "1 of 9 epochs, not ended, or still running" in page_of(run).text

    RunRecord(run, {"command": "python train.py --resume"}, {}, goes_on=True).close(7, {"saving": 2}, "interrupted")

    found = page_of(run)
    assert "1 of 9 epochs, interrupted" in found.text
    assert re.search(r"python train.py\s+python train.py --resume", found.text)
    assert re.search(r"saving\s+2 s\s+all else\s+5 s\s+together\s+7 s", found.text)


def test_a_record_that_is_damaged_costs_a_warning(tmp_path, caplog):
    run = make_run(tmp_path / "exp")
    for content in ("{", "[]", '{"sessions": 3, "classes": {}, "names": 1, "confusion": [[1]], "data": []}'):
        (run / "run.json").write_text(content)
        assert "0.4000" in page_of(run).text
    assert caplog.text.count("run.json: cannot be read") == 2


def test_a_new_run_in_a_folder_begins_its_record_anew(tmp_path):
    RunRecord(tmp_path, {"command": "first"}, {}, goes_on=False)

    RunRecord(tmp_path, {"command": "second"}, {}, goes_on=False)

    assert [session["command"] for session in read_record(tmp_path)["sessions"]] == ["second"]


def test_the_confusion_matrix_is_text(tmp_path):
    run = make_run(tmp_path / "exp")
    record = {"names": ["cat", "dog"], "classes": [], "confusion": [[31, 2, 0], [0, 47, 1], [5, 0, 0]]}
    (run / "run.json").write_text(json.dumps(record))

    assert re.search(r"cat\s+dog\s+background\s+cat\s+31\s+2\s+dog\s+47\s+1\s+background\s+5", page_of(run).text)


@pytest.mark.parametrize(("fitness", "best"), [("default", 1), ("recall", 2), ("f1", 2), ("class:cat", 1)])
def test_the_best_epoch_is_that_of_the_run(tmp_path, fitness, best):
    lines = [
        HEADINGS,
        [0] * 14,
        [1, *[0] * 3, 0.2, 0.1, 0.5, 0.5, *[0] * 6],
        [2, *[0] * 3, 0.2, 0.9, 0.4, 0.4, *[0] * 6],
    ]
    (tmp_path / "results.csv").write_text("\n".join(",".join(map(str, line)) for line in lines))

    assert read_results(tmp_path / "results.csv").best(fitness) == best


def test_rows_that_are_no_rows_are_passed_over_and_the_last_of_an_epoch_counts(tmp_path):
    text = "epoch,  metrics/mAP_0.5:0.95\n0, 0.1\n1, nan\n1, 0.3\nx, 0.2\n2, 0.\x00\n3\n\n2, 0.4, 7\n"
    (tmp_path / "results.csv").write_text(text)

    results = read_results(tmp_path / "results.csv")

    assert results.points(MAP) == [(0, 0.1), (1, 0.3), (2, 0.0)]


@pytest.mark.parametrize("text", ["", "\n", "epoch\n", "a,b\n"])
def test_a_table_without_rows_gives_a_page_without_curves(tmp_path, text):
    (tmp_path / "results.csv").write_text(text)

    assert "Curves" not in page_of(tmp_path).text


@pytest.mark.parametrize("values", [[0.0], [3.0], [-1.0, -1.0], [1e-9, 2e-9], [1e30, -1e30], [0.1, 0.9], [1e6, 1]])
def test_a_chart_is_well_formed_and_keeps_inside_its_frame(values):
    drawn = chart("loss", [Curve("a & b", 9, list(enumerate(values)))])

    root = ElementTree.fromstring(drawn)
    places = [place for line in root.iter("polyline") for place in line.get("points").split()]
    places += [f"{dot.get('cx')},{dot.get('cy')}" for dot in root.iter("circle")]
    assert len(places) == len(values)
    for place in places:
        x, y = map(float, place.split(","))
        assert 0 <= x <= 360 and 0 <= y <= 220
    assert 2 <= len([text for text in root.iter("text") if text.get("text-anchor") == "end"]) <= 7


def test_a_long_curve_is_thinned_and_keeps_its_end():
    root = ElementTree.fromstring(chart("loss", [Curve("a", 0, [(epoch, epoch / 5000) for epoch in range(5000)])]))

    [line] = root.iter("polyline")
    places = line.get("points").split()
    assert len(places) <= 401
    assert places[-1] == "350.0,10.0"  # the last epoch and the highest figure: the corner of the frame


def test_several_runs_stand_side_by_side_with_the_best_of_each_figure_marked(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "a" / "exp", (0.1, 0.2), imgsz=320, batch_size=8)
    make_run(tmp_path / "b" / "exp", (0.1, 0.5), imgsz=640, batch_size=8)

    output = main(parse_config(ReportConfig, ["a/exp", "b/exp"], prog="report"))

    document = output.read_text(encoding="utf-8")
    found = Reader(document)
    assert output == tmp_path / "runs/report/exp/report.html"
    differs, same = found.text.split("What differs")[1].split("settings that all share")
    assert re.search(r"--imgsz\s+320\s+640", differs)
    assert "--batch-size" not in differs and re.search(r"--batch-size\s+8", same)
    assert re.findall(r'class="number best">([\d.]+)', document) == ["0.2500", "0.3000", "0.6000", "0.5000"]
    rows = caplog.text.splitlines()
    assert any("a/exp" in row and "*" not in row for row in rows)
    assert any("b/exp" in row and row.count("*") == 4 for row in rows)


def test_runs_of_one_name_are_told_apart(tmp_path):
    folders = [make_run(tmp_path / place) for place in ("x/a/exp", "y/a/exp", "x/a/exp2")]

    assert names_of([read_folder(folder) for folder in folders]) == ["x/a/exp", "y/a/exp", "exp2"]


def test_a_run_without_a_validation_has_no_best_epoch(tmp_path):
    run = make_run(tmp_path / "exp", maps=(float("nan"),))

    text = comparison_text([read_folder(run)])
    assert "–" in text and all(len(line) <= 80 for line in text.splitlines())
    assert "not measured" in page_of(run).text


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "no run is named"),
        (["nowhere"], "nowhere: does not exist"),
        (["empty"], "empty: is no run of train.py: it has neither results.csv nor opt.yaml"),
        (["notes.txt"], "notes.txt: is not a folder"),
        (["exp", "exp/"], "is given twice"),
        (["exp", "--output", "x.pdf"], "the report is a page"),
        (["exp", "--output", "no/x.html"], "there is no folder no"),
        (["exp", "--output", "mine.html"], "exists, and is no report of ours"),
    ],
)
def test_what_cannot_be_reported_is_refused_and_nothing_written(tmp_path, monkeypatch, arguments, what):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "exp")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "mine.html").write_text("my page")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ConfigError, match=re.escape(what)):
        main(parse_config(ReportConfig, arguments, prog="report"))

    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "mine.html").read_text() == "my page"


def test_a_report_may_be_written_again(tmp_path):
    arguments = [str(make_run(tmp_path / "exp")), "--output", str(tmp_path / "page.html")]

    for _ in range(2):
        assert main(parse_config(ReportConfig, arguments, prog="report")) == tmp_path / "page.html"


def test_the_state_of_the_code_is_that_of_its_own_clone(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    assert git_state(tmp_path) is None
    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    state = git_state(tmp_path.resolve())
    assert re.fullmatch(r"[0-9a-f]{40}", state["commit"]) and not state["dirty"]

    (tmp_path / "code.py").write_text("2")
    (tmp_path / "inside").mkdir()

    assert git_state(tmp_path.resolve())["dirty"]
    assert git_state(tmp_path.resolve() / "inside") is None


def test_the_command_answers_without_pytorch(tmp_path):
    run = make_run(tmp_path / "exp")
    code = "import sys, runpy; runpy.run_module('utils.report', run_name='other')['main']; "
    code += "from utils.report.one import run_page; from utils.report.several import comparison_page; "
    probe = subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], cwd=ROOT)
    done = subprocess.run([sys.executable, "-m", "utils.report", str(run)], cwd=ROOT, capture_output=True, text=True)

    assert probe.returncode == 0
    assert done.stdout == f"report: {Path(run) / 'report.html'}\n"
