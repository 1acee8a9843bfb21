"""Share the images of a data set out: lists for training and validation, and a data-set YAML; no image is moved.

python -m utils.dataset.split --data pets.yaml --val 0.2 --out pets-split           # each class in every part
python -m utils.dataset.split --data pets.yaml --group '(clip\\d+)_' --out by-clip   # frames of a clip together
python -m utils.dataset.split --data pets.yaml --kfold 5 --out folds                # folds/fold1/data.yaml …
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.command import run_command
from utils.configs.split import SplitConfig
from utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np

    from utils.data.scan.scan_result import ScanResult
    from utils.data.scan.spec import DataSpec

log = logging.getLogger("utils.dataset.split")

VAL = 0.2


def main(cfg: SplitConfig) -> Path:
    shares = part_shares(cfg)

    # here, because NumPy and OpenCV take their time to import, and --help should not
    from utils.data.scan.coco import CocoAnnotations
    from utils.data.scan.coco_file import is_coco_file
    from utils.data.scan.scan import scan_split
    from utils.data.scan.spec import load_data_spec
    from utils.dataset.folder import check_out, making, write_data_yaml
    from utils.dataset.lists import check_paths, write_part

    out = check_out(cfg.out)
    spec = load_data_spec(cfg.data, required=("train",))
    sources = list(dict.fromkeys([*spec.train, *spec.val, *(spec.test if cfg.test else ())]))
    scan = scan_split(spec, sources)
    check_paths(scan.image_paths, spec)
    if not cfg.test:
        _check_test(scan.image_paths, spec)
    coco = [CocoAnnotations(path, spec.names, spec.root, spec.fence) for path in sources if is_coco_file(path)]
    parts = _share(cfg, spec, scan, list(shares.values()))

    images = {
        name: [scan.image_paths[number] for number in members] for name, members in zip(shares, parts, strict=True)
    }
    _report(shares, parts, scan, spec)
    with making(out):
        for folder, splits in layouts(out, images, bool(cfg.kfold)).items():
            folder.mkdir(exist_ok=True)
            files = {split: write_part(folder, split, part, spec, coco) for split, part in splits.items()}
            values = {split: [str(folder / file) for file in names] for split, names in files.items()}
            if "test" not in values and spec.test:
                values["test"] = list(map(str, spec.test))
            splits = {split: paths[0] if len(paths) == 1 else paths for split, paths in values.items()}
            write_data_yaml(folder, spec, spec.root, splits)
    log.info("written: %s", out / ("fold1/data.yaml …" if cfg.kfold else "data.yaml"))
    return out


def _check_test(images: Sequence[str], spec: "DataSpec") -> None:
    """Raises: DataError where images to share out are in the split test too, which the new data set takes as it is."""
    from utils.data.scan.scan import split_annotations
    from utils.text import visible

    places = [path for path in spec.test if path.exists()]
    try:
        sources = split_annotations(spec, places) if places else []
    except DataError as error:
        log.warning("test is taken as it is, and could not be compared with the other images: %s", error.what)
        return
    own = {image for source in sources for image in source.images}
    shared = [image for image in images if image in own]
    if shared:
        what = f"{len(shared)} of {len(images)} images to share out are in test too, as {visible(shared[0])}"
        raise DataError(what, f"give --test to share test out as well, or remove test from {visible(spec.file)}")


def part_shares(cfg: SplitConfig) -> dict[str, float]:
    """Return the share of each part by its name; with ``kfold`` fold1, fold2 …, else train and val; and test.

    Raises: ConfigError for shares that leave nothing.
    """
    if not cfg.data:
        raise ConfigError("--data is missing", "name the data-set YAML, or the folder that holds it")
    test = {"test": cfg.test} if cfg.test else {}
    if cfg.kfold:
        if cfg.val is not None:
            raise ConfigError("--val and --kfold: of K parts each is 1 / K of the images", "leave one of them out")
        if cfg.test >= 1:
            raise ConfigError(f"--test {cfg.test}: leaves no images to train on", "give less")
        return {f"fold{number}": (1 - cfg.test) / cfg.kfold for number in range(1, cfg.kfold + 1)} | test
    val = VAL if cfg.val is None else cfg.val
    if not val:
        raise ConfigError("--val 0: leaves no images to validate on", "give more, such as 0.2")
    if val + cfg.test > 1 - 1e-9:
        raise ConfigError(f"--val {val} and --test {cfg.test}: leave no images to train on", "give less")
    return {"train": 1 - val - cfg.test, "val": val} | test


def layouts(out: Path, images: dict[str, list[str]], folds: bool) -> dict[Path, dict[str, list[str]]]:
    """Return for each folder to write the images of its splits."""
    if not folds:
        return {out: images}
    test = {"test": images["test"]} if "test" in images else {}
    parts = {name: part for name, part in images.items() if name != "test"}
    return {
        out / name: {
            "train": sorted(image for other, theirs in parts.items() if other != name for image in theirs),
            "val": part,
            **test,
        }
        for name, part in parts.items()
    }


def _share(cfg: SplitConfig, spec: "DataSpec", scan: "ScanResult", shares: list[float]) -> "list[np.ndarray]":
    """Return the numbers of the images of each part. Raises: DataError where a part would be empty."""
    import numpy as np

    from utils.dataset.groups import Groups, sizes_and_counts, unite_alike, unite_by_name
    from utils.dataset.share import share_out
    from utils.text import counted

    groups = Groups(len(scan))
    if cfg.group:
        strangers = unite_by_name(groups, scan.image_paths, spec.root, cfg.group)
        if strangers:
            log.warning("--group %s: is found in all paths but %d, whose images stand alone", cfg.group, strangers)
    if not cfg.leak:
        unite_alike(groups, scan.image_paths, spec.pixels)
    ids = groups.ids()
    sizes, counts = sizes_and_counts(ids, scan.labels, spec.nc)
    if len(sizes) < len(scan):
        log.info("%d images in %d groups that stay together, the largest of %d", len(scan), len(sizes), sizes.max())
    part = share_out(counts, sizes, shares, np.random.default_rng(cfg.seed))[ids]
    members = [np.flatnonzero(part == number) for number in range(len(shares))]
    if not all(map(len, members)):
        what = f"{len(scan)} images make {counted(len(sizes), 'group')} to share out, too few for {len(shares)} parts"
        raise DataError(what, "give larger shares or fewer parts, a finer --group, or --leak")
    return members


def _report(shares: dict[str, float], parts: "list[np.ndarray]", scan: "ScanResult", spec: "DataSpec") -> None:
    import numpy as np

    from utils.text import counted, safe_text

    for name, members in zip(shares, parts, strict=True):
        classes = np.concatenate([scan.labels[number][:, 0] for number in members]).astype(int)
        share = f"{len(members) / len(scan):.1%} for {shares[name]:.1%}"
        log.info("%s: %s (%s), %s", name, counted(len(members), "image"), share, counted(len(classes), "box"))
        absent = [safe_text(spec.names[index]) for index in sorted(set(spec.names) - set(classes.tolist()))]
        if absent:
            log.warning("%s: no box of %s", name, ", ".join(absent[:10]) + (" …" if len(absent) > 10 else ""))


if __name__ == "__main__":
    run_command(main, SplitConfig)
