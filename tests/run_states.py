"""What two runs hold, compared to the last bit."""

import torch

OWN = {"date", "data_file", "project", "name", "workers", "resume"}  # entries in which equal runs differ


def read_run(run_dir, name="last.pt"):
    """Return the content of a checkpoint of a run, as plain data and tensors."""
    content = torch.load(run_dir / "weights" / name, weights_only=True)
    return content | {"state of the run": content["training"].pop("resume", None)}


def differing(first, second, where=""):
    """Return the places where two trees of plain data and tensors differ; nan equals nan."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys = [key for key in first | second if key not in OWN]
        missing = [f"{where}.{key}" for key in keys if (key in first) != (key in second)]
        return missing + [
            place for key in keys if key in first and key in second
            for place in differing(first[key], second[key], f"{where}.{key}")
        ]  # fmt: skip
    if isinstance(first, list | tuple) and type(first) is type(second) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [place for index, (a, b) in pairs for place in differing(a, b, f"{where}[{index}]")]
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        same = first.dtype == second.dtype and first.shape == second.shape and torch.equal(_bits(first), _bits(second))
        return [] if same else [where]
    return [] if type(first) is type(second) and (first == second or first != first) else [where]


def _bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)
