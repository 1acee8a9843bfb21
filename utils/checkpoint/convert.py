"""Write a checkpoint in another format, and read the file back before it gets its name."""

from collections.abc import Callable
from pathlib import Path

import torch

from models.detector import DetectionModel
from utils.checkpoint.content import Checkpoint
from utils.checkpoint.load import build_model, load_checkpoint, load_model
from utils.checkpoint.native import checkpoint_content, saved
from utils.checkpoint.official_writer import official_bytes
from utils.checkpoint.safetensors_file import safetensors_bytes
from utils.errors import CheckpointError, ConfigError
from utils.formats import format_of
from utils.runs import atomic_write

ENDINGS = {"pt": ".pt", "safetensors": ".safetensors", "official": "_yolov5.pt"}  # behind the stem of the other file


def convert(path: Path, to: str, half: bool = False, out: Path | None = None) -> Path:
    """Write the weights of a checkpoint, without what a training needs to go on, as ``to``; return the new file.

    ``half`` stores weights in float16. Raises: ConfigError where the file exists, CheckpointError where the model has
    parts that the format lacks.
    """
    if format_of(path):
        raise ConfigError(f"{path}: an exported file has no layers left to convert", "give the .pt it was made from")
    out = out or path.with_name(path.stem + ENDINGS[to])
    suffix = f".{ENDINGS[to].rpartition('.')[2]}"
    if out.suffix.lower() != suffix:
        raise ConfigError(f"--out {out}: ends in {out.suffix or 'nothing'}", f"give a name that ends in {suffix}")
    if out.exists():
        raise ConfigError(f"{out}: exists", "name another file with --out")
    checkpoint = load_checkpoint(path)
    model = build_model(checkpoint)
    content = _WRITERS[to](model, checkpoint, half)
    with atomic_write(out) as temporary:
        temporary.write_bytes(content)
        check_same(model, load_model(temporary), path)
    return out


def _content(model: DetectionModel, checkpoint: Checkpoint, half: bool) -> dict:
    facts = checkpoint.facts
    training = {key: value for key, value in (facts["training"] or {}).items() if key != "resume"}
    fitness = facts["best_fitness"] or 0.0
    entries = {"epoch": checkpoint.epoch, "fitness": fitness, "training": training, "imgsz": facts["imgsz"]}
    return checkpoint_content(model, **entries, half=half)


_WRITERS: dict[str, Callable[[DetectionModel, Checkpoint, bool], bytes | memoryview]] = {
    "pt": lambda model, checkpoint, half: saved(_content(model, checkpoint, half)),
    "safetensors": lambda model, checkpoint, half: safetensors_bytes(_content(model, checkpoint, half)),
    "official": official_bytes,
}


@torch.inference_mode()
def check_same(model: DetectionModel, written: DetectionModel, path: Path) -> None:
    """Give ``model`` the weights of ``written``, in place, and run an image through both.

    Raises: CheckpointError where they differ: something of the file at ``path`` is neither weight nor description.
    """
    model.load_state_dict(written.state_dict())
    height, width = model.fixed_size or (model.size_multiple, 2 * model.size_multiple)
    image = torch.rand(1, model.yaml["ch"], height, width, generator=torch.Generator().manual_seed(0))
    if model.names != written.names or not torch.equal(model.predict(image).output, written.predict(image).output):
        what = f"{path}: holds settings of layers that the new file cannot, and would compute something else"
        raise CheckpointError(what, "use it as it is")
