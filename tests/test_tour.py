"""The notebook of docs/ runs from top to bottom, without Jupyter, and is stored as nothing but its text."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils.runs import ROOT

NOTEBOOK = ROOT / "docs/tour.ipynb"


def notebook():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def code_cells():
    return ["".join(cell["source"]) for cell in notebook()["cells"] if cell["cell_type"] == "code"]


def run(code: str, cwd: Path, script: Path) -> str:
    """Run code whose own folder, the first on its path, is that of ``script``; return what it printed."""
    script.write_text(code, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(script)], cwd=cwd, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_notebook_is_stored_without_outputs_and_without_the_machine_it_was_made_on():
    content = notebook()
    ids = [cell["id"] for cell in content["cells"]]

    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert content["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in ids)
    for cell in content["cells"]:
        others = {"execution_count": None, "outputs": []} if cell["cell_type"] == "code" else {}
        assert cell["cell_type"] in ("code", "markdown") and "".join(cell["source"]).strip()
        assert {key: cell[key] for key in cell if key not in ("cell_type", "id", "source")} == {"metadata": {}} | others


def test_the_page_of_the_python_api_and_the_notebook_lead_to_each_other():
    assert "](tour.ipynb)" in (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert "](python.md)" in "".join(notebook()["cells"][0]["source"])


@pytest.mark.parametrize("folder", [".", "docs"])
def test_the_first_cell_makes_the_clone_the_current_folder_wherever_it_is_started(folder, tmp_path):
    code = code_cells()[0] + "\nimport train\nprint(os.getcwd(), train.__file__, sep='\\n')"

    printed = run(code, ROOT / folder, tmp_path / "start.py")

    assert printed.splitlines() == [str(ROOT), str(ROOT / "train.py")]


@pytest.mark.slow
def test_all_cells_run_and_write_nothing_but_data_and_runs(tmp_path):
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs", "datasets"))
    shapes = clone / "utils/data/shapes/dataset.py"
    shapes.write_text(shapes.read_text().replace('"train": 400, "val": 80', '"train": 16, "val": 8'))
    before = content_of(clone)

    printed = run("\n".join(code_cells()), clone / "docs", tmp_path / "tour.py")

    assert re.findall(r"^image (./.): 256x352 [1-5] ", printed, re.MULTILINE) == ["1/3", "2/3", "3/3", "1/1"]
    assert sorted(path.name for path in (clone / "runs/tour").iterdir()) == ["exp", "exp2"]
    assert (clone / "runs/tour/exp/weights/best.onnx").is_file()
    after = content_of(clone)
    assert {path: after[path] for path in before} == before
    assert {path.parts[0] for path in after.keys() - before.keys()} == {"datasets", "runs"}


def content_of(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file below a folder, without Python's cache."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder): path.read_bytes() for path in files}
