"""A converted file, opened by pickle itself in a program that has classes of YOLOv5's names, computes the same there.

The classes below know what the specification of the behaviour says of each layer's forward pass, and build nothing: all
that they compute with comes out of the file.
"""

import subprocess
import sys

import torch
from tiny_detector import tiny_model

from utils.checkpoint.convert import convert
from utils.checkpoint.native import save_checkpoint

COMMON = """
import torch
from torch import nn

class Conv(nn.Module):
    def forward(self, x):
        return self.act(self.bn(self.conv(x)))

class Bottleneck(nn.Module):
    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y

class C3(nn.Module):
    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))

class SPPF(nn.Module):
    def forward(self, x):
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(torch.cat(maps, 1))

class Concat(nn.Module):
    def forward(self, x):
        return torch.cat(x, self.d)
"""
YOLO = """
import torch
from torch import nn

class Detect(nn.Module):
    def forward(self, maps):
        rows = []
        for i, x in enumerate(maps):
            x = self.m[i](x)
            count, _, ny, nx = x.shape
            y = x.view(count, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).sigmoid()
            if self.grid[i].shape[2:4] != y.shape[2:4]:
                row, column = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
                self.grid[i] = torch.stack((column, row), 2).expand(1, self.na, ny, nx, 2) - 0.5
                self.anchor_grid[i] = (self.anchors[i] * self.stride[i]).view(1, self.na, 1, 1, 2)
            xy = (y[..., :2] * 2 + self.grid[i]) * self.stride[i]
            wh = (y[..., 2:4] * 2) ** 2 * self.anchor_grid[i]
            rows.append(torch.cat((xy, wh, y[..., 4:]), -1).view(count, -1, self.no))
        return torch.cat(rows, 1)

class DetectionModel(nn.Module):
    def forward(self, x):
        kept = []
        for m in self.model:
            if m.f != -1:
                x = kept[m.f] if isinstance(m.f, int) else [x if j == -1 else kept[j] for j in m.f]
            x = m(x)
            kept.append(x if m.i in self.save else None)
        return x
"""
PROGRAM = """
import sys, torch
checkpoint = torch.load("x.pt", map_location="cpu", weights_only=False)
model = (checkpoint.get("ema") or checkpoint["model"]).float().eval()
head = model.model[-1]
assert type(model).__module__ == "models.yolo" and not any(p.requires_grad for p in model.parameters())
head.stride, head.grid, head.anchor_grid = head.stride.float(), [*map(torch.Tensor.float, head.grid)], head.anchor_grid
with torch.inference_mode():
    found = [model(images) for images in torch.load("images.pt")]
torch.save({"found": found, "state": model.state_dict(), "names": model.names, "nc": model.nc,
            "stride": model.stride, "yaml": model.yaml}, "out.pt")
"""


def test_a_program_with_classes_of_these_names_opens_the_file_and_finds_the_same(tmp_path):
    model = tiny_model()
    save_checkpoint(tmp_path / "best.pt", model, epoch=0, fitness=0.0, training={})
    convert(tmp_path / "best.pt", "official", out=tmp_path / "x.pt")
    (tmp_path / "models").mkdir()
    for name, text in (("models/__init__.py", ""), ("models/common.py", COMMON), ("models/yolo.py", YOLO)):
        (tmp_path / name).write_text(text)
    side = int(model.stride.max())  # for which the file holds the grids, and another size
    images = [torch.rand(1, 3, height, width) for height, width in ((side, side), (64, 96))]
    torch.save(images, tmp_path / "images.pt")

    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    out = torch.load(tmp_path / "out.pt")
    for batch, found in zip(images, out["found"], strict=True):
        with torch.inference_mode():
            torch.testing.assert_close(found, model(batch)[0], rtol=1e-5, atol=1e-4)
    state = model.state_dict()
    assert list(out["state"]) == list(state)
    assert all(torch.equal(out["state"][key], state[key]) for key in state)
    assert (out["names"], out["nc"], out["yaml"]) == (model.names, model.nc, model.yaml)
    assert out["stride"].tolist() == model.stride.tolist()
