"""Write the labels of a data set in another format: YOLO's label files, COCO's JSON, Pascal VOC's XML.

python -m utils.dataset.convert --data coco-pets.yaml --to yolo --out pets-yolo               # images are linked
python -m utils.dataset.convert --data pets.yaml --to coco --out pets-coco --images copy      # or copied
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from utils.command import run_command
from utils.configs.convert import ConvertConfig
from utils.errors import ConfigError

if TYPE_CHECKING:
    from utils.data.scan.spec import DataSpec
    from utils.dataset.items import Item

log = logging.getLogger("utils.dataset.convert")


def main(cfg: ConvertConfig) -> Path:
    if not cfg.data:
        raise ConfigError("--data is missing", "name the data-set YAML, or the folder that holds it")

    # here, because NumPy and OpenCV take their time to import, and --help should not
    from utils.data.scan.spec import load_data_spec
    from utils.dataset.folder import check_beside, check_out, making, place_image, write_data_yaml
    from utils.dataset.items import read_items
    from utils.dataset.to_coco import write_coco
    from utils.dataset.to_voc import write_voc
    from utils.dataset.to_yolo import write_yolo
    from utils.progress import progress_bar

    out = check_out(cfg.out)
    spec = load_data_spec(cfg.data, required=("train",))
    check_beside(out, spec)
    _check_names(spec, cfg.to)
    splits = {split: read_items(spec, paths) for split, paths in _splits(spec).items()}
    names = _names(cfg, spec, splits)

    write = {"yolo": write_yolo, "coco": write_coco, "voc": write_voc}[cfg.to]
    with making(out):
        places, placed = {}, set()
        for split, items in splits.items():
            folder = out / ("JPEGImages" if cfg.to == "voc" else f"images/{split}")
            with progress_bar(items, f"{split:>22}", stays=False) as bar:
                for item, name in zip(bar, names[split], strict=True) if cfg.images != "none" else ():
                    if folder / name not in placed:  # an image may be in two splits
                        placed.add(folder / name)
                        place_image(item.image, folder / name, cfg.images)
            places[split] = write(out, split, list(zip(items, names[split], strict=True)), spec.names)
        if cfg.images == "none" and cfg.to != "coco":
            log.info("%s: labels alone, without data.yaml, which would have no images to name", out)
            return out
        root = spec.root if cfg.images == "none" else None
        write_data_yaml(out, spec, root, {k: str(out / v) for k, v in places.items()} if root else places)
    log.info("written: %s", out / "data.yaml")
    return out


def _check_names(spec: "DataSpec", to: str) -> None:
    """Raises: ConfigError where the format, which goes by the names of classes, cannot tell them apart or hold them."""
    from utils.data.scan.class_matching import ClassMatcher
    from utils.dataset.items import is_held
    from utils.text import visible

    if to == "yolo":
        return
    matcher = ClassMatcher(spec.names)
    for number, name in spec.names.items():
        read = name.strip() if to == "voc" else name
        if matcher.find(read) != number or (to == "voc" and not is_held(name)):
            what = f"{visible(spec.file)}: class {number}, {visible(name)!r}, would not be found again by its name"
            raise ConfigError(what, "give each class a name of its own, of letters that one can see")


def _splits(spec: "DataSpec") -> dict[str, list[Path]]:
    """Return the places of each split that the data set has; test may be named and not be there."""
    from utils.data.scan.spec import SPLITS

    splits = {split: getattr(spec, split) for split in SPLITS if getattr(spec, split)}
    for split in [split for split in ("val", "test") if split in splits]:
        absent = [path for path in splits[split] if not path.exists()]
        if absent:
            log.warning("%s: %s does not exist, and is left out", split, absent[0])
            del splits[split]
    return splits


def _names(cfg: ConvertConfig, spec: "DataSpec", splits: "dict[str, list[Item]]") -> dict[str, list[str]]:
    """Return for each split how the new data set calls its images."""
    from utils.dataset.items import flat_names, new_names
    from utils.dataset.lists import check_paths, path_from

    images = {split: [item.image for item in items] for split, items in splits.items()}
    if cfg.to == "voc":
        every = sorted({image for those in images.values() for image in those})
        flat = dict(zip(every, flat_names(every), strict=True))
        return {split: [flat[image] for image in those] for split, those in images.items()}
    if cfg.to == "coco" and cfg.images == "none":
        check_paths([image for those in images.values() for image in those], spec)
        return {split: [path_from(spec.root, image) for image in those] for split, those in images.items()}
    return {split: new_names(those) for split, those in images.items()}


if __name__ == "__main__":
    run_command(main, ConvertConfig)
