"""``--classes`` of train.py and val.py."""

import pytest

import train
import val
from tests.annotation_case import write_coco, write_yolo
from utils.yaml_file import read_yaml

TINY = {"cfg": "models/yolov5n.yaml", "imgsz": 64, "epochs": 1, "batch_size": 4, "workers": 0, "device": "cpu"}


def test_a_model_of_chosen_classes_is_validated_on_them(tmp_path, caplog):
    caplog.set_level("INFO")
    data = str(write_coco(tmp_path / "coco"))
    done = train.run(**TINY, data=data, classes=["dog", "rest=cat,1"], project=str(tmp_path), plots=False)

    assert read_yaml(f"{done.save_dir}/opt.yaml", ["classes"])["classes"] == ["dog", "rest=cat,1"]
    caplog.clear()
    options = {"weights": f"{done.save_dir}/weights/best.pt", "project": str(tmp_path / "val"), "plots": False}
    _, maps, _ = val.run(**options, workers=0, device="cpu")
    assert len(maps) == 2
    assert "classes: dog rest=cat,1 (those of the training)" in caplog.text
    assert "--classes: 6 of 6 label rows" in caplog.text


@pytest.mark.slow
def test_a_model_of_all_classes_is_validated_on_some(tmp_path, caplog):
    caplog.set_level("INFO")
    data = str(write_yolo(tmp_path / "yolo"))
    done = train.run(**TINY, data=data, project=str(tmp_path), plots=False)
    caplog.clear()

    options = {"weights": f"{done.save_dir}/weights/best.pt", "project": str(tmp_path / "val"), "plots": False}
    _, maps, _ = val.run(**options, workers=0, device="cpu", classes=["2", "0"])

    assert len(maps) == 2
    assert "--classes: 4 of 6 label rows" in caplog.text
