"""200 altered ONNX files: each works or is refused in one sentence, nothing else."""

import random

import onnx
import pytest
import torch
from google.protobuf.message import Message
from tiny_detector import tiny_model

from utils.backends.choose import load_backend
from utils.errors import CheckpointError, ConfigError
from utils.export.onnx import export_onnx

FILES = 200
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**31, 2**62)
TEXTS = ("", "x", "images", "output0", "\x1b[31m", "a" * 10_000, "1e999", "[1]")


def parts(proto):
    """Return a message and all those inside it."""
    found = [proto]
    for message in found:
        for field, value in message.ListFields():
            if field.message_type is not None:
                found.extend([value] if isinstance(value, Message) else value)
    return found


def change_field(proto, rng):
    """Change one field somewhere in the file, in place: another value, one more, one less, or none."""
    part = rng.choice([message for message in parts(proto) if message.ListFields()])
    field, value = rng.choice(part.ListFields())
    if hasattr(value, "append") and rng.random() < 0.7:
        index = rng.randrange(len(value))
        if rng.random() < 0.5:
            value.append(value[index])
        else:
            del value[index]
    elif type(value) is str:
        setattr(part, field.name, rng.choice(TEXTS))
    elif type(value) is bytes:
        setattr(part, field.name, rng.choice((b"", value[: len(value) // 2], value + b"0000", b"\xff" * len(value))))
    elif type(value) is int:
        try:
            setattr(part, field.name, rng.choice(NUMBERS))
        except ValueError:  # no room for it, or no such member of an enumeration
            part.ClearField(field.name)
    else:
        part.ClearField(field.name)


def damaged(proto, rng):
    """Return the bytes of the file with some fields, some bytes or its end changed."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    if rng.random() < 0.7:
        for _ in range(rng.choice((1, 1, 2, 4))):
            change_field(changed, rng)
        return changed.SerializeToString()
    content = bytearray(proto.SerializeToString())
    if rng.random() < 0.3:
        return bytes(content[: rng.randrange(len(content))])
    for _ in range(rng.choice((1, 8, 64))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(("opset", "dynamic"), [(12, True), (12, False), (18, True)])
def test_a_damaged_file_works_or_is_refused_in_one_sentence(tmp_path, opset, dynamic):
    export_onnx(tiny_model(), tmp_path / "whole.onnx", (64, 96), dynamic=dynamic, opset=opset, data="pets.yaml")
    whole = onnx.load(tmp_path / "whole.onnx")
    outcomes = {"works": 0, "refused": 0}

    for seed in range(FILES):
        (tmp_path / "x.onnx").write_bytes(damaged(whole, random.Random(seed)))
        try:
            backend = load_backend(tmp_path / "x.onnx")
            found = backend(torch.rand(2, 3, *(backend.fixed_size or (64, 96)))).output
        except (CheckpointError, ConfigError) as error:
            assert "\n" not in error.what and error.fix, (seed, error)
            outcomes["refused"] += 1
        else:
            assert found.shape[0] == 2 and found.shape[2] == 5 + len(backend.names), seed
            outcomes["works"] += 1

    assert min(outcomes.values()) > FILES // 20
