"""Compute a network of OpenVINO in 8-bit integers with NNCF, but for the decoding of boxes; see ``int8``."""

import logging
import os

import openvino

from utils.errors import UserError
from utils.export.calibrate import CalibrationImages
from utils.export.compare import RejectedError, reason
from utils.export.trace import quiet_exporter
from utils.quiet import quiet

CONVOLUTIONS = ("Convolution", "GroupConvolution")


def in_int8(network: openvino.Model, images: CalibrationImages) -> openvino.Model:
    """Return the network with integers from its images to its last convolutions. Raises: RejectedError, DataError."""
    os.environ.setdefault("NNCF_CI", "1")  # it reports its use to its makers otherwise
    with quiet(logging.ERROR, "torch.utils.cpp_extension"), quiet_exporter():  # NNCF loads it: about compilers
        import nncf  # here, because it is optional, and slow
        import rich

        nncf.set_log_level(logging.ERROR)
        rich.get_console().quiet = True  # the progress that counts is that of the images
        float_nodes = nncf.IgnoredScope(names=_decoding(network), validate=False)  # it counts few of them as nodes
        try:
            return nncf.quantize(network, nncf.Dataset(images), subset_size=len(images), ignored_scope=float_nodes)
        except UserError:  # of an image
            raise
        except Exception as error:  # the library's errors have no class in common
            raise RejectedError(f"NNCF cannot turn it into integers: {reason(error)}") from error


def _decoding(network: openvino.Model) -> list[str]:
    """Return the names of the operations that no convolution follows, one to a single map not counting."""
    wanted: set[str] = set()  # what convolutions read, directly or not
    names = []
    for operation in reversed(network.get_ordered_ops()):
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        is_conv = kind in CONVOLUTIONS and operation.output(0).get_partial_shape()[1].get_length() > 1
        if is_conv or name in wanted:
            wanted |= {source.get_node().get_friendly_name() for source in operation.input_values()}
        else:
            names.append(name)
    return names
