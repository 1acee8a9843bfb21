"""The documentation is true: its commands run, its flags exist, its figures are the printed ones, its languages agree.

Commands run in a copy of the clone as readers type them, with the flags of ``ADDED`` behind them. A block that starts
with ``# FILE`` is that file, and a ``text`` block repeats lines of the output of the block above it.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from models.detector import DetectionModel
from models.scales import model_names
from models.summary import summary_line
from utils.data.shapes.dataset import draw_picture
from utils.plots.image_file import write_image

ROOT = Path(__file__).resolve().parents[1]
README, CHINESE, CONTRIBUTING = (ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md"))
TUTORIAL, HEAD, MIGRATION, MODELS, GPUS, COMPILE = (
    ROOT / f"docs/{name}.md"
    for name in ("add-a-backbone", "add-a-head", "migrate", "models", "several-gpus", "compile")
)
# docs/python.md has no commands; its code is run by test_docs_python.py
PAGES = [README, CHINESE, *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs/python.md"})]
READ = {  # the pages whose commands are not, and why
    CHINESE: "its commands are those of README.md, see test_both_readmes_have_the_same_structure_blocks_and_names",
    COMPILE: "compiling takes minutes; tests/utils/training/test_compiling.py compiles a small model, with -m slow",
    GPUS: "they need several GPUs; tests/utils/training/test_processes.py trains in two processes",
    CONTRIBUTING: "its commands run these very tests",
}
RUN = [page for page in PAGES if page not in (*READ, MODELS)]  # the pages whose commands are run, with -m slow
SCRIPTS = ("train.py", "val.py", "detect.py", "export.py", "benchmark.py", "models/yolo.py")
SCRIPTS += ("-m utils.doctor", "-m utils.report", "-m utils.checkpoint", "-m utils.dataset.split")
SCRIPTS += ("-m utils.dataset.convert",)

SHORT = "--imgsz 64 --epochs 1 --batch 8 --workers 0"
ADDED = {
    "python train.py": SHORT,
    "python benchmark.py --backbones": SHORT,
}  # to these commands: then they take seconds
ADDED |= {"python benchmark.py --reparam": "--imgsz 64", "python benchmark.py --weights": "--workers 0"}
NOT_RUN = {  # words of the commands that are not run even there, and why
    "make train": "makes an environment from the network, then runs what other tests run",
    "make test": "would run this test",
    "pip install": "needs the network",
    "coco128": "needs data from the network",
    "--source 0": "needs a camera",
    "--source rtsp": "needs a camera in the network",
    "screen 1": "needs a screen",
    "tools.bench_": "measures for minutes",
}
SLOW = ("pytest", "benchmark.py", "export.py", ".onnx", "val.py", "--fuse-check", "--list-backbones")  # with -m slow


SHELL = re.compile(r"^(?:\$ )?(?:python3?|pip3?|make|pytest|git|bash|docker|export) ", re.MULTILINE)


class Block(NamedTuple):
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(fence[1], fence[2], text.count("\n", 0, fence.start()) + 1) for fence in fences]


def commands(page: Path) -> list[str]:
    """Return what a page gives to type into a shell, line by line, also where a block does not say its language."""
    shown = [block for block in blocks(page) if block.language not in ("python", "text", "yaml")]
    return [line for block in shown if block.language or SHELL.search(block.text) for line in block.text.splitlines()]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def clone(tmp_path):
    """Return a copy of the clone with a smaller embedded data set, and what the README takes as given: an own data set,
    an own backbone (the tutorial's), official checkpoints, and for its Python lines best.pt and street.jpg.
    """
    clone = tmp_path / "clone"
    outside = shutil.ignore_patterns(".*", "__pycache__", "runs", "datasets")
    shutil.copytree(ROOT, clone, ignore=outside)
    shapes = clone / "utils/data/shapes/dataset.py"
    shapes.write_text(shapes.read_text().replace('"train": 400, "val": 80', '"train": 16, "val": 8'))
    for split in ("train", "val"):
        images, labels = (clone / "datasets/pets" / folder / split for folder in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(8):
            image, rows = draw_picture(split, index)
            write_image(images / f"{index}.jpg", image)
            (labels / f"{index}.txt").write_text("".join(f"{int(c) % 2} {x} {y} {w} {h}\n" for c, x, y, w, h in rows))
    write_pets(clone / "datasets")
    (clone / "my_backbone.py").write_text(blocks(TUTORIAL)[0].text, encoding="utf-8")
    for name in ("yolov5s.pt", "best.pt"):
        shutil.copy(ROOT / "tests/golden/official_format.pt", clone / name)
    shutil.copy(ROOT / "tests/golden/v8/official_format_v8.pt", clone / "yolov8n.pt")
    write_image(clone / "street.jpg", draw_picture("val", 0)[0])
    return clone


def write_pets(root: Path) -> None:
    """Write the data sets of docs/data.md, as COCO files and as Pascal VOC's."""
    coco, voc = root / "coco-pets", root / "voc-pets"
    for folder in (coco / "annotations", voc / "JPEGImages", voc / "Annotations", voc / "ImageSets/Main"):
        folder.mkdir(parents=True)
    categories = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]
    for split in ("train", "val"):
        (coco / f"images/{split}").mkdir(parents=True)
        images, rows = [], []
        for index in range(8):
            image, objects = draw_picture(split, index)
            name, (height, width) = f"{split}{index}", image.shape[:2]
            write_image(coco / f"images/{split}/{name}.jpg", image)
            write_image(voc / f"JPEGImages/{name}.jpg", image)
            images.append({"id": index, "file_name": f"{name}.jpg", "width": width, "height": height})
            xml = ""
            for class_id, x, y, w, h in objects:
                box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
                pet = categories[int(class_id) % 2]
                rows.append({"id": len(rows), "image_id": index, "category_id": pet["id"], "bbox": box})
                corners = {"xmin": box[0], "ymin": box[1], "xmax": box[0] + box[2], "ymax": box[1] + box[3]}
                bndbox = "".join(f"<{key}>{value + 1}</{key}>" for key, value in corners.items())
                xml += f"<object><name>{pet['name']}</name><bndbox>{bndbox}</bndbox></object>"
            (voc / f"Annotations/{name}.xml").write_text(f"<annotation>{xml}</annotation>")
        content = {"images": images, "annotations": rows, "categories": categories}
        (coco / f"annotations/instances_{split}.json").write_text(json.dumps(content))
        (voc / f"ImageSets/Main/{split}.txt").write_text("".join(f"{split}{index}\n" for index in range(8)))


def run_page(page: Path, clone: Path, skipped: tuple[str, ...]) -> None:
    """Run every block of a page in order; of bash blocks, the lines that contain none of ``skipped``."""
    output = ""
    for block in blocks(page):
        named = re.match(r"# (\S+\.\w+)\n", block.text)
        if named:
            (clone / named[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "text":
            absent = set(block.text.splitlines()) - set(output.splitlines())
            assert not absent, f"{page}:{block.line}: not printed: {absent}\n{output}"
        elif block.language == "python":
            output = run([sys.executable, "-c", block.text], clone, f"{page}:{block.line}")
        else:
            assert block.language == "bash", f"{page}:{block.line}: a block of {block.language}"
            for line in block.text.splitlines():
                if not any(word in line for word in (*NOT_RUN, *skipped)):
                    output = run(["bash", "-euc", shortened(line)], clone, f"{page}:{block.line}: {line}")


def shortened(line: str) -> str:
    command = line.partition(" # ")[0]
    return " ".join([command, *(flags for start, flags in ADDED.items() if command.startswith(start))])


def run(command: list[str], clone: Path, where: str) -> str:
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(clone.parent / "cache"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, cwd=clone, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{where}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_ends_with_a_trained_detector(clone):
    run_page(TUTORIAL, clone, skipped=SLOW)

    assert (clone / "runs/train/mobilenet/weights/best.pt").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_on_heads_ends_with_a_trained_detector(clone):
    run_page(HEAD, clone, skipped=SLOW)

    assert (clone / "runs/train/centre/weights/best.pt").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page, clone):
    run_page(page, clone, skipped=())


def test_every_page_with_commands_is_run_or_says_why_not():
    pages = [page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if commands(page)]

    assert sorted(pages) == sorted([*RUN, *READ])


def test_every_reason_not_to_run_a_command_is_needed():
    lines = [line for page in RUN for line in commands(page)]

    assert [word for word in NOT_RUN if not any(word in line for line in lines)] == []


@cache
def flags_of(script: str) -> set[str]:
    """Return the flags that ``--help`` lists."""
    done = subprocess.run(
        [sys.executable, *script.split(), "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(re.findall(r"--[a-z][\w-]*", done.stdout))


def missing_flags() -> list[tuple[str, set[str]]]:
    """Return the rows (script, flags) of the table of flags that are not there yet."""
    rows = re.findall(r"^\| `(\w+\.py)` \| ([^|]+) \|", MIGRATION.read_text(encoding="utf-8"), re.MULTILINE)
    return [(script, set(re.findall(r"--[\w-]+", cell))) for script, cell in rows]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_of_a_command_exists(page):
    text = page.read_text(encoding="utf-8")
    commands = re.findall(r"python (-m utils(?:\.\w+)+|(?:models/)?\w+\.py)([^\n`#]*)", text)
    own = [(script, arguments) for script, arguments in commands if f"```python\n# {script}\n" not in text]

    assert own
    for script, arguments in own:
        assert set(re.findall(r"--[a-z][\w-]*", arguments)) <= flags_of(script), f"{script}{arguments}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_other_flag_exists_in_some_script(page):
    known = set.union(*map(flags_of, SCRIPTS))
    text = re.sub(r"^\| `\w+\.py` \| [^|]+ \|", "", prose(page), flags=re.MULTILINE)  # missing_flags

    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known


def test_the_flags_that_are_said_to_be_missing_are_missing():
    assert missing_flags()
    for script, flags in missing_flags():
        assert not flags & flags_of(script)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_lead_somewhere(page):
    text = prose(page)
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    files = re.findall(r"`((?:data|docs|models|tests|tools|utils)/[\w./-]+)`", text)

    absent = [link for link in links if not (page.parent / link).exists()]
    absent += [file for file in files if not (ROOT / file).exists()]
    assert absent == ([] if page != TUTORIAL else absent)


def test_the_make_targets_exist_and_the_first_command_is_the_one_of_make_train():
    makefile = (ROOT / "Makefile").read_text()
    used = re.findall(r"^make (\w+)|`make (\w+)", README.read_text() + CONTRIBUTING.read_text(), re.MULTILINE)
    demo = re.search(r"^DEMO\s+:= (.+)$", makefile, re.MULTILINE)

    assert {first or second for first, second in used} <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert f"\npython train.py {demo[1]}\n" in README.read_text()


def table_of_models() -> dict[str, list[str]]:
    """Return model YAML or name → parameters and GFLOPs in training form, then fused, latency, mAP50 and mAP50-95."""
    rows = re.findall(r"^\| `(\S+)` \| [^|]+ \| (.+) \|$", MODELS.read_text(), re.MULTILINE)
    return {file: figures.split(" | ") for file, figures in rows}


@pytest.mark.parametrize(
    "file",
    [file if re.search(r"\dn", file) else pytest.param(file, marks=pytest.mark.slow) for file in table_of_models()],
)
def test_the_table_of_models_has_the_printed_figures(file):
    with torch.device("meta"):
        model = DetectionModel(file)

    printed = summary_line(model) + summary_line(model.fuse())
    assert re.findall(r"([\d,.]+) (?:parameters|GFLOPs)", printed) == table_of_models()[file][:4]


def test_the_table_of_models_is_complete_and_has_the_measured_figures():
    with MODELS.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        measured = {row["model"]: row for row in csv.DictReader(file)}

    assert sorted(Path(file).stem for file in table_of_models()) == sorted(
        name for name, path in model_names() if path.parent == ROOT / "models"
    )
    for file, figures in table_of_models().items():
        assert figures[4:] == [measured[Path(file).stem][key] or "–" for key in ("latency_ms", "map50", "map")]


def test_both_readmes_have_the_same_structure_blocks_and_names():
    for what in (headings, names, code):
        assert what(README) == what(CHINESE)


def headings(page: Path) -> list[str]:
    """Return the level of every heading, in order."""
    return re.findall(r"^(#+) ", prose(page), re.MULTILINE)


def names(page: Path) -> set[str]:
    """Return everything that is set as code, and the pages that are linked."""
    return set(re.findall(r"`[^`\n]+`|\]\((?!README)[^)]+\)", prose(page)))


def code(page: Path) -> list[tuple[str, list[str]]]:
    """Return the blocks without their comments, which are in the page's language."""
    return [
        (block.language, [line.partition("#")[0].rstrip() for line in block.text.splitlines()])
        for block in blocks(page)
    ]
