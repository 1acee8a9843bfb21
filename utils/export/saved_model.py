"""Write a detector as a SavedModel of TensorFlow, from its ONNX graph: operations of TensorFlow, and the facts as YAML.

It takes images (B, C, H, W) of one size under the signature ``serving_default``, as ``images``, and answers with
``output0``. Maps lie as in ONNX and are turned for each convolution: TensorFlow on the CPU has channels last only.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.export.compare import INPUT, OUTPUT, RejectedError, reason
from utils.export.order import Order
from utils.export.program import quiet_converter
from utils.export.tf_graph import computed
from utils.optional_import import import_beside_torch
from utils.yaml_file import write_yaml


def write(order: Order, path: Path) -> str:
    """Write the folder; return what is to be said of it. Raises: RejectedError, ConfigError."""
    plain = replace(order, opset=None) if order.opset else order  # an opset for the .onnx beside it; see tf_graph
    graph = plain.final_graph().graph
    with quiet_converter():
        tf = import_beside_torch("tensorflow", path)
    module = tf.Module()
    source = tf.TensorSpec(order.shape, tf.float32, name=INPUT)
    module.detect = tf.function(
        lambda images: {OUTPUT: computed(tf, graph, images)}, input_signature=[source], autograph=False
    )
    try:
        with quiet_converter():
            tf.saved_model.save(module, str(path), signatures={"serving_default": module.detect})
    except RejectedError:
        raise
    except Exception as error:  # its errors have no class in common
        raise RejectedError(f"TensorFlow cannot save it: {reason(error)}") from error
    return f"written by TensorFlow {tf.__version__}"


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Store the facts beside the network."""
    write_yaml(path / "metadata.yaml", dict(facts))
