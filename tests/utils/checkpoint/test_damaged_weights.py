"""A weights file that is damaged or something else is refused with one sentence that says what it is."""

import copy
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from utils.checkpoint.archive import Archive
from utils.checkpoint.load import load_checkpoint, load_weights
from utils.errors import CheckpointError

OFFICIAL = Path(__file__).parents[2] / "golden" / "official_format.pt"
GOOD = OFFICIAL.read_bytes()


def flipped_byte():
    """Return the good file with one bit of the weights in record 150 changed, and nothing else."""
    with zipfile.ZipFile(OFFICIAL) as archive:
        record = archive.read("official_format/data/150")
    start = GOOD.index(record)
    return GOOD[:start] + bytes([record[0] ^ 1]) + GOOD[start + 1 :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (GOOD[: len(GOOD) // 2], "truncated or damaged"),
        (GOOD[:-1], "truncated or damaged"),
        (GOOD[:-4096] + bytes(4096), "truncated or damaged"),
        (GOOD[:1], "starts with the bytes 50"),
        (flipped_byte(), r"checksum \(CRC-32\) of 'official_format/data/150' is wrong"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 14808437\n", "a Git LFS pointer"),
        (bytes(range(7, 256)) * 40, "not a PyTorch checkpoint"),
        (bytes(257) + b"ustar" + bytes(250), "a tar archive"),
        (safetensors.torch.save({"a": torch.zeros(3)}), "a safetensors file by its first bytes"),
        (b"\x08\x0a\x12\x07pytorch\x1a\x052.0.0", "an ONNX model by its first bytes"),
        (pickle.dumps({"model": 1}), "a pickle that torch.save did not write"),
    ],
    ids=[
        "empty",
        "half",
        "one byte short",
        "zero tail",
        "one byte",
        "bit flip",
        "html",
        "lfs",
        "random",
        "tar",
        "st",
        "onnx",
        "pickle",
    ],
)
def test_damage_is_told_apart(tmp_path, content, words):
    weights = tmp_path / "x.pt"
    weights.write_bytes(content)

    with pytest.raises(CheckpointError, match=words) as error:
        load_checkpoint(weights)
    assert str(weights) in error.value.what
    assert "\n" not in error.value.what


def test_a_folder_is_called_one(tmp_path):
    with pytest.raises(CheckpointError, match="a folder, not a weights file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("x.onnx", "onnx"),
        ("x_int8_openvino_model", "openvino"),
        ("x.torchscript", "torchscript"),
        ("x.tflite", "tflite"),
    ],
)
def test_an_exported_model_is_told_from_a_checkpoint(tmp_path, name, form):
    if "." in name:
        (tmp_path / name).write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x052.0.0")
    else:
        (tmp_path / name).mkdir()

    for load in (load_checkpoint, load_weights):
        with pytest.raises(CheckpointError, match=rf"an exported model \({form}\), not a checkpoint") as error:
            load(tmp_path / name)
        assert error.value.fix.startswith("give the .pt that it was made from")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"x\.pt: no such file"):
        load_checkpoint(tmp_path / "x.pt")


def test_a_legacy_file_that_ends_too_early_is_refused(tmp_path):
    torch.save({"a": torch.rand(1000)}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(whole[:-1])

    with pytest.raises(CheckpointError, match="truncated: storage"):
        load_weights(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("name", "compression", "words"),
    [
        ("official_format/constants.pkl", zipfile.ZIP_STORED, "a TorchScript archive"),
        ("official_format/code/__torch__.py", zipfile.ZIP_STORED, "a TorchScript archive"),
        ("official_format/run.sh", zipfile.ZIP_STORED, "unexpected entry"),
        ("other/data/9999", zipfile.ZIP_STORED, "several top folders"),
        ("official_format/data.pkl", zipfile.ZIP_STORED, "unexpected entry"),
        ("official_format/data/9999", zipfile.ZIP_DEFLATED, "compressed or encrypted"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_other_entries_is_refused(tmp_path, name, compression, words):
    shutil.copy(OFFICIAL, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "a", compression) as archive:
        archive.writestr(name, b"0" * 1000)

    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "x.pt")


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """Thousands of names for one record would take minutes to check."""
    torch.save({"a": torch.rand(1000)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
        archive.writestr("x/data/99", b"")  # makes it write the directory anew
        for number in range(1, 50):
            again = copy.copy(archive.getinfo("x/data/0"))
            again.filename = f"x/data/{number}"
            archive.filelist.append(again)

    with pytest.raises(CheckpointError, match="lie on each other"):
        load_weights(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_real_torchscript_archive_is_recognised(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match="a TorchScript archive"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.fixture
def without_checksums():
    torch.serialization.set_crc32_options(False)
    yield
    torch.serialization.set_crc32_options(True)


def test_a_file_without_checksums_is_read_and_that_is_noted(tmp_path, without_checksums, caplog):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert {info.CRC for info in archive.infolist()} == {0}

    read = load_weights(tmp_path / "x.pt")

    assert read["a"].tolist() == [0, 1, 2]
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'x.pt'}: written without checksums; damage inside its records cannot be seen"
    ]


def test_one_checksum_that_is_missing_is_damage(tmp_path):
    """torch.save writes all or none; a single zero is an altered directory."""
    torch.save({"a": torch.arange(3.0)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        checksum = archive.getinfo("x/data/0").CRC.to_bytes(4, "little")
    content = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(content.replace(checksum, bytes(4)))

    with pytest.raises(CheckpointError, match=r"checksum \(CRC-32\) of 'x/data/0' is wrong"):
        load_weights(tmp_path / "x.pt")


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_a_bare_state_dict_has_weights_but_describes_no_model(tmp_path, nested):
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).half().state_dict()
    torch.save({nested: state, "epoch": 3} if nested else state, tmp_path / "x.pt")

    with pytest.raises(CheckpointError, match="weights without a model description") as error:
        load_checkpoint(tmp_path / "x.pt")
    assert "train.py --weights FILE --cfg" in error.value.fix

    read = load_weights(tmp_path / "x.pt")
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key].to(read[key].dtype)) for key in state)
    assert read["0.weight"].dtype == torch.float32


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_back_with_values_dtype_and_shape(tmp_path, zipped):
    base = torch.arange(24.0).view(2, 3, 4)
    tensors = {
        "view": base[1, :, 1:3],
        "transposed": base.permute(2, 0, 1),
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(7, dtype=torch.int16),
        "empty": torch.zeros(0, 3),
        "bfloat16": torch.rand(3).bfloat16(),
        "bool": torch.tensor([True, False]),
    }
    torch.save(tensors, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)

    archive = Archive(tmp_path / "x.pt")

    for key, expected in tensors.items():
        torch.testing.assert_close(archive.tensor(archive.root[key]), expected, rtol=0, atol=0)
