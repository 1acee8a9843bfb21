"""Write a model of ours as official YOLOv5 checkpoints store theirs: pickled modules under the official class paths."""

import pickle
from types import SimpleNamespace

import torch
from torch import nn


def save_official(path, model, zipped=True, **entries):
    """Pickle ``{"model": model, **entries}``; modules in ``entries`` are converted too."""
    content = {"epoch": -1, "best_fitness": None, "ema": None, "model": model, **entries}
    content = {key: Tree(value) if isinstance(value, nn.Module) else value for key, value in content.items()}
    pickler = SimpleNamespace(Pickler=_Pickler if zipped else _LegacyPickler, dump=pickle.dump, __name__="pickle")
    torch.save(content, path, pickle_module=pickler, _use_new_zipfile_serialization=zipped)


def class_path(module):
    """Return the module and name under which the official code has this layer."""
    cls = type(module)
    if cls.__module__.startswith("torch."):
        return cls.__module__, cls.__name__
    home = {"DetectionModel": "models.yolo", "Detect": "models.yolo", "MixConv2d": "models.experimental"}
    return home.get(cls.__name__, "models.common"), cls.__name__


class Instance:
    """A pickled instance: the module and name of its class, and the dictionary of its attributes."""

    def __init__(self, path, state):
        self.path, self.state = path, state


class Call(Instance):
    """What a function of the file returns for ``arguments``; ``state`` is put into that unless it is None."""

    def __init__(self, path, arguments=(), state=None):
        super().__init__(path, state)
        self.arguments = arguments


class Tree(Instance):
    """A module as it is pickled; ``path_of`` tells the class path of each."""

    def __init__(self, module, path_of=None):
        path_of = path_of or class_path
        super().__init__(
            path_of(module), {key: value for key, value in vars(module).items() if _is_official(key, value)}
        )
        self.state["_modules"] = {name: child and Tree(child, path_of) for name, child in module._modules.items()}
        if self.path[1] == "DetectionModel":
            self.state |= {"yaml": module.yaml, "names": module.names, "nc": module.nc, "stride": module.stride}


def _is_official(key, value):
    return key in ("_parameters", "_buffers", "_non_persistent_buffers_set") or isinstance(
        value, bool | int | float | str | tuple | type(None)
    )


class _ClassPath:
    """A class that is written by its name and not looked up."""

    def __init__(self, module, name):
        self.text = f"c{module}\n{name}\n"


class _Pickler(pickle._Pickler):
    """Writes an ``Instance`` as pickle writes one of the class that the path names, without importing it."""

    def save(self, value, save_persistent_id=True):
        if isinstance(value, _ClassPath):
            self.write(value.text.encode())
        elif isinstance(value, Instance) and id(value) in self.memo:
            self.write(self.get(self.memo[id(value)][0]))
        elif isinstance(value, Instance):
            self.save_instance(value)
        else:
            super().save(value, save_persistent_id)

    def save_instance(self, value):
        self.save_class(_ClassPath(*value.path))
        self.save(getattr(value, "arguments", ()))
        self.write(b"R" if isinstance(value, Call) else b"\x81")
        self.memoize(value)
        if value.state is not None:
            self.save(value.state)
            self.write(b"b")

    def save_class(self, path):
        self.save(path)


class _LegacyPickler(_Pickler):
    """Before torch 1.6 the first mention of a module's class carried its source."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = set()

    def save_class(self, path):
        if path.text in self.seen:
            self.save(path)
        else:
            self.seen.add(path.text)
            self.save(("module", path, "models/common.py", "class Conv(nn.Module): ..."))
            self.write(b"Q")
