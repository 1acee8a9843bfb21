"""A weights file is data: whatever its pickle asks for, nothing outside the tables is looked up, called or built."""

import io
import pickle
import random
import struct
import zipfile
from types import FunctionType

import pytest
import torch

from utils.checkpoint import tables
from utils.checkpoint.archive import Archive
from utils.checkpoint.module_tree import walk_modules
from utils.checkpoint.pickle_vm import run_pickle
from utils.checkpoint.tables import InertClass, Node, RefusedError, StorageType
from utils.errors import CheckpointError


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def short_text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def hostile_pickles(command):
    """Return pickles that, in pickle.loads, run a shell command or an expression, by every route of the language."""
    python = f"__import__('os').system({command!r})"
    inner = b"cos\nsystem\n" + text(command) + b"\x85R."
    return {
        "reduce": (inner, "os.system"),
        "in a dictionary": (b"\x80\x02}" + text("model") + inner[:-1] + b"s.", "os.system"),
        "stack_global": (
            b"\x80\x04" + short_text("builtins") + short_text("eval") + b"\x93" + text(python) + b"\x85R.",
            "builtins.eval",
        ),
        "dotted name": (
            b"\x80\x04" + short_text("torch") + short_text("os.system") + b"\x93" + text(command) + b"\x85R.",
            "torch.os.system",
        ),
        "memo": (b"cos\nsystem\nq\x000h\x00" + text(command) + b"\x85R.", "os.system"),
        "inst": (b"(S'" + command.encode() + b"'\nios\nsystem\n.", "STRING"),
        "obj": (b"(cos\nsystem\n" + text(command) + b"o.", "os.system"),
        "extension code": (b"\x82\x01" + text(command) + b"\x85R.", "EXT1"),
        "newobj": (b"cos\nsystem\n" + text(command) + b"\x85\x81.", "os.system"),
        "nested pickle": (
            b"ctorch.storage\n_load_from_bytes\nC" + bytes([len(inner)]) + inner + b"\x85R.",
            "_load_from",
        ),
        "getattr": (b"cbuiltins\ngetattr\ncmodels.yolo\nDetect\n" + text("__init__") + b"\x86R.", "'__init__'"),
        "getattr chain": (
            b"cbuiltins\ngetattr\n" + text("os") + text("system") + b"\x86R" + text(command) + b"\x85R.",
            "os",
        ),
        "import": (b"cimportlib\nimport_module\n" + text("os") + b"\x85R.", "importlib.import_module"),
        "real class called": (b"cmodels.yolo\nDetectionModel\n" + text("x.yaml") + b"\x85R.", "DetectionModel"),
        "real class made with arguments": (
            b"cmodels.yolo\nDetectionModel\n" + text("x") + b"\x85\x81.",
            "DetectionModel",
        ),
        "state that sets attributes": (
            b"cmodels.common\nConv\n)\x81N}" + text("forward") + text("x") + b"s\x86b.",
            "Conv",
        ),
        "codec": (b"c_codecs\nencode\n" + text(python) + text("rot13") + b"\x86R.", "rot13"),
        "escape sequence": (b"cos\n\x1b[31mred\n.", r"\x1b[31mred"),
    }


def write_zip(path, data_pkl, records=()):
    """Write what ``torch.save`` would wrap around a pickle and its storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        for name, data in dict(records).items():
            archive.writestr(f"archive/{name}", data)
    return path


def write_legacy(path, data_pkl):
    """Write the format before torch 1.6 around a pickle without storages."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, system))
    path.write_bytes(head + data_pkl + pickle.dumps([], protocol=2))
    return path


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("route", hostile_pickles("").keys())
def test_no_route_to_execution_works_and_the_culprit_is_named(tmp_path, route, write):
    marker = tmp_path / "executed"
    data_pkl, named = hostile_pickles(f"touch {marker}")[route]
    weights = write(tmp_path / "evil.pt", data_pkl)

    with pytest.raises(CheckpointError) as error:
        Archive(weights)

    assert named in error.value.what
    assert "\n" not in error.value.what
    assert "\x1b" not in error.value.what
    assert not marker.exists()


@pytest.mark.parametrize("route", ["reduce", "stack_global", "inst", "obj", "memo"])
def test_the_routes_are_real(tmp_path, route):
    marker = tmp_path / "executed"
    data_pkl, _ = hostile_pickles(f"touch {marker}")[route]

    pickle.loads(data_pkl)

    assert marker.exists()


def test_the_tables_hold_records_storages_and_our_own_functions_only():
    for (module, name), entry in tables.GLOBALS.items():
        if isinstance(entry, InertClass):
            assert (entry.module, entry.name) == (module, name)
        elif not isinstance(entry, StorageType):
            assert type(entry) is FunctionType
            assert entry.__module__ == tables.__name__


def test_a_storage_must_be_as_long_as_the_pickle_says(tmp_path):
    weights = write_zip(
        tmp_path / "short.pt", tensor_pickle(numel=10**9, shape=(10**9,), stride=(1,)), {"data/0": b"0000"}
    )

    with pytest.raises(CheckpointError, match="truncated: storage 0 has 4 bytes"):
        archive = Archive(weights)
        archive.tensor(archive.root)


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((10**9,), (0,)),
        ((2,), (1,)),
        ((1, 1, 2), (1, 1, 1)),
        ((-1,), (1,)),
        ((1,), ()),
        ((1,) * 9, (1,) * 9),
        ((1,), (2**64,)),
        ((0, 2**70), (1, 1)),
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused(tmp_path, shape, stride):
    weights = write_zip(tmp_path / "bomb.pt", tensor_pickle(1, shape, stride), {"data/0": b"0000"})

    with pytest.raises(CheckpointError, match="a tensor"):
        Archive(weights)


def tensor_pickle(numel, shape, stride):
    """Return the pickle of one tensor over a float32 storage that claims ``numel`` numbers."""
    storage = object()

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (storage, 0, shape, stride, False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if value is storage else None

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(Tensor())
    return buffer.getvalue()


def test_many_views_of_one_storage_are_refused(tmp_path):
    torch.save([torch.zeros(1000)], tmp_path / "one.pt")
    archive = Archive(tmp_path / "one.pt")
    record = archive.root[0]

    with pytest.raises(CheckpointError, match="repeat the same numbers"):
        for _ in range(100):
            archive.tensor(record)


@pytest.mark.parametrize(
    ("name", "data_pkl"),
    [
        ("endless marks", b"(" * 5000 + b"."),
        ("endless stack", b"N" * 200_000 + b"."),
        ("huge number", b"\x8a\xff" + b"\x01" * 255 + b"."),
        ("deep tuple as a key", b"}N" + b"\x85" * 100_000 + b"Ns."),
        ("deep tuple in a set", b"c__builtin__\nset\n]N" + b"\x85" * 100_000 + b"a\x85R."),
        (
            "a text copied again and again",
            b"cpathlib\nPosixPath\nq\x00" + text("x" * 1000) + b"q\x010" + b"h\x00h\x01\x85R" * 9000,
        ),
    ],
)
def test_bombs_are_refused(name, data_pkl):
    with pytest.raises((RefusedError, ValueError)):
        run_pickle(io.BytesIO(data_pkl), lambda value: value)


def test_a_module_that_contains_itself_is_refused():
    node = Node(InertClass("torch.nn.modules.container", "Sequential"))
    node.build({"_modules": {"0": node}})

    with pytest.raises(RefusedError, match="contains itself"):
        walk_modules(node)


def test_two_children_each_the_same_subtree_cannot_multiply_without_end():
    node = Node(InertClass("torch.nn.modules.container", "Sequential"), {})
    for _ in range(60):
        node = Node(InertClass("torch.nn.modules.container", "Sequential"), {"_modules": {"0": node, "1": node}})

    with pytest.raises(RefusedError, match="modules"):
        walk_modules(node)


@pytest.mark.parametrize("attribute", ["_forward_hooks", "_forward_pre_hooks", "forward"])
def test_a_module_with_hooks_or_a_forward_of_its_own_is_refused(attribute):
    node = Node(InertClass("models.common", "Conv"), {attribute: {0: "anything"}})

    with pytest.raises(RefusedError, match="a forward of its own"):
        walk_modules(node)


@pytest.mark.parametrize("zipped", [True, False])
def test_random_damage_ends_in_a_checkpoint_error_or_in_data(tmp_path, zipped):
    torch.save(
        {"model": {"a": torch.rand(3), "b": [1, 2.5, ("x", None, True)]}, "epoch": 3},
        tmp_path / "good.pt",
        _use_new_zipfile_serialization=zipped,
    )
    good = (tmp_path / "good.pt").read_bytes()
    draw = random.Random(0)

    for _ in range(1500):
        data = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if zipped:
            with zipfile.ZipFile(io.BytesIO(good)) as archive:
                pickled = bytearray(archive.read("good/data.pkl"))
            pickled[draw.randrange(len(pickled))] = draw.randrange(256)
            write_zip(tmp_path / "bad.pt", bytes(pickled), {"data/0": bytes(12)})
        else:
            (tmp_path / "bad.pt").write_bytes(data)
        try:
            Archive(tmp_path / "bad.pt")
        except CheckpointError as error:
            assert "\n" not in error.what
