"""Write small models of the YOLOv8 family as official checkpoints store theirs.

The layers are stand-ins without a forward; every row has 16 channels after its scale of 0.25.
"""

import torch
from official_layout import Tree, save_official
from torch import nn

HOMES = {
    "DetectionModel": "ultralytics.nn.tasks",
    **dict.fromkeys(("Conv", "DWConv"), "ultralytics.nn.modules.conv"),
    **dict.fromkeys(("C2f", "C3k2", "Bottleneck", "SPPF", "DFL"), "ultralytics.nn.modules.block"),
    "Detect": "ultralytics.nn.modules.head",
}
V8 = {
    "nc": 6,
    "scales": {"n": [0.33, 0.25, 1024], "s": [0.33, 0.5, 1024]},
    "scale": "n",
    "yaml_file": "yolov8n.yaml",
    "channels": 3,
    "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "C2f", [64, True]], [-1, 1, "SPPF", [64, 5]]],
    "head": [[[1, 2], 1, "Detect", ["nc"]]],
}
V11 = {**V8, "backbone": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "C3k2", [64]], [-1, 1, "SPPF", [64, 5]]]}


class Conv(nn.Module):
    def __init__(self, c1, c2, k=1, g=1, act=None):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2, groups=g, bias=False)
        self.bn, self.act = nn.BatchNorm2d(c2, eps=1e-3), act or nn.SiLU()


class DWConv(Conv):
    pass


class Bottleneck(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, 3), Conv(c, c, 3), True


class C2f(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.c = c2 // 2
        self.cv1, self.cv2 = Conv(c1, 2 * self.c), Conv(3 * self.c, c2)
        self.m = nn.ModuleList([Bottleneck(self.c)])


class C3k2(C2f):
    pass


class SPPF(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.cv1, self.cv2, self.m = Conv(c1, c1 // 2), Conv(2 * c1, c2), nn.MaxPool2d(5, 1, 2)


class DFL(nn.Module):
    def __init__(self, c1):
        super().__init__()
        self.conv, self.c1 = nn.Conv2d(c1, 1, 1, bias=False), c1


class Detect(nn.Module):
    def __init__(self, nc, reg_max, widths, depthwise):
        super().__init__()
        self.nc, self.nl, self.reg_max, self.no, self.shape = (
            nc,
            len(widths),
            reg_max,
            nc + 4 * reg_max,
            torch.Size([1]),
        )
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(x, 16, 3), Conv(16, 16, 3), nn.Conv2d(16, 4 * reg_max, 1)) for x in widths
        )
        self.cv3 = nn.ModuleList(nn.Sequential(*self.inner(x, depthwise), nn.Conv2d(16, nc, 1)) for x in widths)
        self.dfl = DFL(reg_max)

    @staticmethod
    def inner(x, depthwise):
        if depthwise:
            return [nn.Sequential(DWConv(c, c, 3, g=c), Conv(c, 16)) for c in (x, 16)]
        return [Conv(x, 16, 3), Conv(16, 16, 3)]


class DetectionModel(nn.Module):
    def __init__(self, yaml, layers):
        super().__init__()
        self.model, self.yaml, self.nc = nn.Sequential(*layers), yaml, yaml["nc"]
        self.names, self.stride = {index: f"class {index}" for index in range(self.nc)}, torch.tensor([8.0, 16.0])
        for index, layer in enumerate(layers):
            layer.i, layer.f, layer.type = index, -1, f"{HOMES[type(layer).__name__]}.{type(layer).__name__}"


def stand_in(yaml=V8, nc=6, reg_max=16, depthwise=False, width=16, **changes):
    """Return a model whose rows have ``width`` channels, whatever its YAML says; ``changes`` go into that."""
    torch.manual_seed(0)
    block = {"C2f": C2f, "C3k2": C3k2, "Conv": Conv}[yaml["backbone"][1][2]]
    layers = [Conv(3, 16, 3), block(16, width), SPPF(width, 16), Detect(nc, reg_max, (width, 16), depthwise)]
    return DetectionModel({**yaml, "nc": nc, **changes}, layers).half()


def pickled(model, flat=False):
    """Return the tree of a model, with the layers of one module ``ultralytics.nn.modules`` if ``flat``."""

    def path_of(module):
        name = type(module).__name__
        home = HOMES.get(name, type(module).__module__)
        return "ultralytics.nn.modules" if flat and home.startswith("ultralytics.nn.modules.") else home, name

    tree = Tree(model, path_of)
    head = layer(tree, "model.3")
    head.state |= {"stride": torch.tensor([8.0, 16.0]).half(), "anchors": torch.zeros(2, 5).half()}
    return tree


def layer(tree, path):
    """Return the module at a dotted path of a tree."""
    for name in path.split("."):
        tree = tree.state["_modules"][name]
    return tree


def save_v8(path, model=None, **entries):
    """Write what a finished training leaves; ``model`` is a module or a tree."""
    tree = pickled(model) if isinstance(model, nn.Module) else model
    options = {"task": "detect", "data": "data/pets.yaml", "imgsz": 320}
    save_official(path, tree, **{"train_args": options, "date": "2024-01-01", "version": "8.2.0", **entries})
    return path
