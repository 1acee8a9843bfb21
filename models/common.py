"""Every layer name that model YAMLs and official checkpoints use, in one place; defines nothing."""

from models.heads.detect import Detect
from models.layers.activation import AconC, FReLU, MetaAconC
from models.layers.attention import C3TR, TransformerBlock, TransformerLayer
from models.layers.conv import Conv, DWConv, DWConvTranspose2d, Focus, autopad
from models.layers.csp import C3, Bottleneck, BottleneckCSP, C3x, CrossConv
from models.layers.ghost import C3Ghost, GhostBottleneck, GhostConv
from models.layers.mixconv import MixConv2d
from models.layers.pooling import C3SPP, SPP, SPPF
from models.layers.repvgg_block import RepVGGBlock
from models.layers.routing import Concat, Contract, Expand

__all__ = [
    "C3",
    "C3SPP",
    "C3TR",
    "SPP",
    "SPPF",
    "AconC",
    "Bottleneck",
    "BottleneckCSP",
    "C3Ghost",
    "C3x",
    "Concat",
    "Contract",
    "Conv",
    "CrossConv",
    "DWConv",
    "DWConvTranspose2d",
    "Detect",
    "Expand",
    "FReLU",
    "Focus",
    "GhostBottleneck",
    "GhostConv",
    "MetaAconC",
    "MixConv2d",
    "RepVGGBlock",
    "TransformerBlock",
    "TransformerLayer",
    "autopad",
]
