"""The formats that a detector is exported to: how each is called, how its files end, what it needs.

A format that is written here has the module of its name in ``utils/export``, and ``utils/backends/NAME.py`` runs it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SYSTEMS = {"darwin": "macOS"}  # as ``sys.platform`` and as users call them
ONNX_FIRST = "give --include onnx and convert that file"


@dataclass(frozen=True)
class Format:
    """A format of ``export.py --include``."""

    name: str
    suffix: str  # of the file or the folder, behind the name of the checkpoint
    packages: tuple[str, ...] = ()  # that it needs besides those of requirements.txt, as pip and Python call them
    options: tuple[str, ...] = ()  # of export.py that it takes and some others do not
    option_packages: tuple[tuple[str, str], ...] = ()  # an option, and the package that it needs alone
    system: str = ""  # as ``sys.platform`` calls the only one that runs it; it is written on all
    instead: str = ""  # what to do about a format that is not written here

    @property
    def is_written(self) -> bool:
        return not self.instead

    @property
    def is_folder(self) -> bool:
        return self.suffix == ".mlpackage" or "." not in self.suffix

    @property
    def runs_here(self) -> bool:
        """Whether this system has what runs it, its packages aside."""
        return self.system in ("", sys.platform)

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]

    def refusal(self, options: Sequence[str] = ()) -> tuple[str, str] | None:
        """Return why it is not written with the ``options`` on this machine and what to do, None where it is."""
        if self.instead:
            return f"--include {self.name}: this format is not written here", self.instead
        if missing := self.missing():
            return f"--include {self.name}: needs {' and '.join(missing)}", f"pip install {' '.join(missing)}"
        if wrong := [option for option in options if option not in self.options]:
            flag = f"--{wrong[0].replace('_', '-')}"
            takers = [form.name for form in FORMATS if wrong[0] in form.options]
            return f"--include {self.name}: has no {flag}", f"leave {flag} out, or give it with {' or '.join(takers)}"
        for option, package in self.option_packages:
            if option in options and find_spec(package) is None:
                return f"--include {self.name}: --{option} needs {package}", f"pip install {package}"
        return None


FORMATS = (
    Format("torchscript", ".torchscript", options=("dynamic", "half")),
    Format("onnx", ".onnx", options=("dynamic", "half", "int8", "nms", "opset")),
    Format(
        "openvino",
        "_openvino_model",
        ("openvino",),
        options=("dynamic", "half", "int8", "nms", "opset"),
        option_packages=(("int8", "nncf"),),
    ),
    Format("ncnn", "_ncnn_model", ("ncnn", "pnnx"), options=("half",)),
    Format("engine", ".engine", ("tensorrt",), options=("dynamic", "half", "opset", "workspace")),
    Format("coreml", ".mlpackage", ("coremltools",), system="darwin"),
    Format("saved_model", "_saved_model", ("tensorflow",)),
    Format("pb", ".pb", instead="give --include saved_model, the newer format of TensorFlow"),
    Format("tflite", ".tflite", ("litert_torch", "ai_edge_litert")),
    Format(
        "edgetpu",
        "_edgetpu.tflite",
        instead=f"{ONNX_FIRST}: onnx2tf -i best.onnx -oiqt, then edgetpu_compiler on the .tflite file in integers",
    ),
    Format(
        "tfjs",
        "_web_model",
        instead="give --include onnx, which onnxruntime-web runs in browsers as it is",
    ),
    Format("paddle", "_paddle_model", instead=f"{ONNX_FIRST}: x2paddle --framework onnx --model best.onnx"),
)
NAMES = tuple(form.name for form in FORMATS)


def named(name: str) -> Format:
    """Return the format of a name of ``NAMES``."""
    return FORMATS[NAMES.index(name)]


def format_of(path: Path) -> Format | None:
    """Return the format that a file or folder is in by the end of its name, None for another."""
    ends = [form for form in FORMATS if path.name.lower().endswith(form.suffix)]
    return max(ends, key=lambda form: len(form.suffix), default=None)
