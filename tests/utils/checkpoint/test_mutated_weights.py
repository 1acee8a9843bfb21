"""Mutated weights files end in one sentence or in a model; never in a traceback, a hang or a flood of memory.

A zip whose bytes were changed loads as the original or not at all, since every record has a checksum. Where those are
renewed, and in the format before PyTorch 1.6, which has none, other numbers may load, but only finite ones.
"""

import collections
import copy
import io
import math
import random
import sys
import zipfile

import pytest
import torch
from official_layout import save_official
from tiny_detector import tiny_model

from utils.checkpoint.load import load_checkpoint, load_model
from utils.checkpoint.native import save_checkpoint
from utils.errors import CheckpointError

TRAINING = {"opt": {"data": "data/x.yaml", "imgsz": 64}, "hyp": {"lr0": 0.01}, "date": "2024-01-01"}
ODD = (None, True, 0, -1, 1, 2**31, 2**100, 0.5, -0.0, math.nan, math.inf, "", "x" * 70_000, "../x", "\x1b[31m", b"\0")
ODD += ([], {}, (), [[[]]], {"a": {}}, {1: 2}, torch.zeros(0), torch.full((2,), math.nan), torch.tensor(7))
MEMORY_MIB = 400


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Return file content by kind."""
    folder = tmp_path_factory.mktemp("original")
    model = tiny_model()
    save_checkpoint(folder / "native.pt", model, epoch=4, fitness=0.25, training=TRAINING, imgsz=64)
    save_official(folder / "official.pt", model, opt=TRAINING["opt"])
    save_official(folder / "legacy.pt", model, zipped=False, opt=TRAINING["opt"])
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


def flip(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 2, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def cut(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.choice((1, 2, 7, 100, len(data)))]


def insert(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    data[start:start] = draw.choice((b"\0", b"\xff" * 4, draw.randbytes(9), bytes(data[start : start + 50])))


def overwrite(data: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(data))
    data[start : start + 16] = draw.choice((bytes(16), b"\xff" * 16, draw.randbytes(16)))[: len(data) - start]


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """Return the file with bytes changed anywhere, half of the time near its ends, where directory and pickle lie."""
    data = bytearray(content)
    draw.choice((flip, cut, insert, overwrite))(data, draw)
    return bytes(data)


def mutated_pickle(content: bytes, draw: random.Random) -> bytes:
    """Return the zip with its pickle changed and checksums that fit."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            data = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                draw.choice((flip, cut, insert, overwrite))(data, draw)
            target.writestr(name, bytes(data))
    return changed.getvalue()


def mutated_value(content: bytes, draw: random.Random) -> bytes:
    """Return our own checkpoint with one value replaced by an odd one, taken out, or found under an odd key."""
    root = torch.load(io.BytesIO(content), weights_only=True)
    table = root
    while True:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        key = draw.choice(keys)
        inner = table[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.3:
            break
        table = inner
    what = draw.random()
    if what < 0.15:
        del table[key]
    elif what < 0.25 and isinstance(table, dict):
        table[draw.choice(("", 7, -1, None, True, "x" * 400))] = table.pop(key)
    else:
        table[key] = copy.deepcopy(draw.choice(ODD))
    buffer = io.BytesIO()
    torch.save(root, buffer)
    return buffer.getvalue()


CASES = [
    ("native", mutated_bytes),
    ("official", mutated_bytes),
    ("legacy", mutated_bytes),
    ("official", mutated_pickle),
    ("native", mutated_pickle),
    ("native", mutated_value),
]


def outcome(path) -> str:
    """Return "refused" or "loaded" after looking at what must hold then."""
    try:
        facts = load_checkpoint(path).facts
        model = load_model(path)
    except CheckpointError as error:
        assert "\n" not in error.what and len(error.what) < 1500, error.what[:3000]
        assert "\x1b" not in str(error)
        assert error.fix
        return "refused"
    assert type(facts["imgsz"]) is int or facts["imgsz"] is None
    assert isinstance(facts["training"].get("opt", {}).get("data") or "", str)
    assert sorted(model.names) == list(range(model.nc))
    assert all(isinstance(name, str) for name in model.names.values())
    return "loaded"


def judge(tmp_path, originals, seed: int, count: int) -> collections.Counter:
    """Return how often each kind of mutation was refused or loaded."""
    draw, counts = random.Random(seed), collections.Counter()
    wanted = tiny_model().state_dict()
    for number in range(count):
        kind, mutate = CASES[number % len(CASES)]
        path = tmp_path / "x.pt"
        path.write_bytes(mutate(originals[kind], draw))
        try:
            found = outcome(path)
        except BaseException:
            (tmp_path / f"fails-{number}.pt").write_bytes(path.read_bytes())
            raise
        if found == "loaded" and mutate is mutated_bytes and kind != "legacy":
            state = load_checkpoint(path).state
            assert all(torch.equal(state[key], value) for key, value in wanted.items()), f"mutation {number}"
        counts[f"{kind} {mutate.__name__} {found}"] += 1
    return counts


@pytest.mark.parametrize("kind", ["native", "official", "legacy"])
def test_the_originals_load(tmp_path, originals, kind):
    (tmp_path / "x.pt").write_bytes(originals[kind])

    assert outcome(tmp_path / "x.pt") == "loaded"


def test_a_few_mutations_end_in_a_sentence_or_a_model(tmp_path, originals):
    counts = judge(tmp_path, originals, seed=1, count=60)

    assert sum(counts.values()) == 60


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of memory is read from resource")
def test_two_thousand_mutations_end_in_a_sentence_or_a_model(tmp_path, originals, record_property):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS

    counts = judge(tmp_path, originals, seed=0, count=2000)

    for name, count in sorted(counts.items()):
        record_property(name, count)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEMORY_MIB * 2 ** (20 if sys.platform == "darwin" else 10)
