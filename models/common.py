"""Every layer name that model YAMLs and official checkpoints use, in one place; defines nothing."""

from models.heads.anchor_free import AnchorFreeDetect
from models.heads.detect import Detect
from models.layers.activation import AconC, FReLU, MetaAconC
from models.layers.attention import C3TR, TransformerBlock, TransformerLayer
from models.layers.c2f import C1, C2, C2f
from models.layers.c3k2 import C3k, C3k2
from models.layers.conv import Conv, ConvTranspose, DWConv, DWConvTranspose2d, Focus, autopad
from models.layers.csp import C3, Bottleneck, BottleneckCSP, C3x, CrossConv, KernelBottleneck, KernelBottleneckCSP
from models.layers.ghost import C3Ghost, GhostBottleneck, GhostConv
from models.layers.mixconv import MixConv2d
from models.layers.pooling import C3SPP, SPP, SPPF
from models.layers.psa import C2PSA, PSA, Attention, C2fPSA, PSABlock
from models.layers.repvgg_block import RepVGGBlock
from models.layers.routing import Concat, Contract, Expand

__all__ = [
    "C1",
    "C2",
    "C2PSA",
    "C3",
    "C3SPP",
    "C3TR",
    "PSA",
    "SPP",
    "SPPF",
    "AconC",
    "AnchorFreeDetect",
    "Attention",
    "Bottleneck",
    "BottleneckCSP",
    "C2f",
    "C2fPSA",
    "C3Ghost",
    "C3k",
    "C3k2",
    "C3x",
    "Concat",
    "Contract",
    "Conv",
    "ConvTranspose",
    "CrossConv",
    "DWConv",
    "DWConvTranspose2d",
    "Detect",
    "Expand",
    "FReLU",
    "Focus",
    "GhostBottleneck",
    "GhostConv",
    "KernelBottleneck",
    "KernelBottleneckCSP",
    "MetaAconC",
    "MixConv2d",
    "PSABlock",
    "RepVGGBlock",
    "TransformerBlock",
    "TransformerLayer",
    "autopad",
]
