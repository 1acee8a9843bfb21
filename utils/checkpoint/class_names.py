"""The classes that a pickled checkpoint may hold instances of, by the module under which it names them."""

_V5 = {
    "models.yolo": "Detect Segment Model BaseModel DetectionModel SegmentationModel ClassificationModel",
    "models.common": "Conv DWConv DWConvTranspose2d TransformerLayer TransformerBlock Bottleneck BottleneckCSP "
    "CrossConv C3 C3x C3TR C3SPP C3Ghost SPP SPPF Focus GhostConv GhostBottleneck Contract Expand Concat Flatten "
    "Proto Classify",
    "models.experimental": "CrossConv C3 Sum GhostConv GhostBottleneck MixConv2d",
    "utils.activations": "SiLU Swish Hardswish HardSwish Mish MemoryEfficientSwish MemoryEfficientMish FReLU AconC "
    "MetaAconC",
}

_V8_LAYERS = {
    "ultralytics.nn.modules.conv": "Conv DWConv Concat GhostConv Focus ConvTranspose DWConvTranspose2d",
    "ultralytics.nn.modules.block": "C2f C3k2 C3k C2PSA PSA C2fPSA PSABlock Attention C1 C2 C3 C3x C3TR C3Ghost "
    "GhostBottleneck Bottleneck BottleneckCSP SPP SPPF DFL Silence",
    "ultralytics.nn.modules.head": "Detect",
    "ultralytics.nn.modules.transformer": "TransformerLayer TransformerBlock",
}
_V8_LOSSES = {  # a trainer may leave its loss on the model; nothing of it is read
    "loss": "v8DetectionLoss BboxLoss DFLoss",
    "tal": "TaskAlignedAssigner",
}
_V8 = {
    "ultralytics.nn.tasks": "DetectionModel",
    **_V8_LAYERS,
    "ultralytics.nn.modules": " ".join(_V8_LAYERS.values()),  # until mid-2023 all layers stood in one file
    **{f"ultralytics.utils.{file}": names for file, names in _V8_LOSSES.items()},
    **{f"ultralytics.yolo.utils.{file}": names for file, names in _V8_LOSSES.items()},  # first half of 2023
}

_LIBRARIES = {
    "torch.nn.modules.container": "Sequential ModuleList ModuleDict",
    "torch.nn.modules.conv": "Conv2d ConvTranspose2d",
    "torch.nn.modules.batchnorm": "BatchNorm2d SyncBatchNorm",
    "torch.nn.modules.normalization": "LayerNorm GroupNorm",
    "torch.nn.modules.activation": "SiLU Hardswish LeakyReLU ReLU ReLU6 Sigmoid Tanh Mish GELU ELU PReLU Softplus "
    "Hardsigmoid Hardtanh MultiheadAttention",
    "torch.nn.modules.pooling": "MaxPool2d AvgPool2d AdaptiveAvgPool2d",
    "torch.nn.modules.upsampling": "Upsample UpsamplingNearest2d",
    "torch.nn.modules.linear": "Linear Identity NonDynamicallyQuantizableLinear _LinearWithBias",
    "torch.nn.modules.padding": "ZeroPad2d",
    "torch.nn.modules.dropout": "Dropout Dropout2d",
    "torch.nn.modules.loss": "BCEWithLogitsLoss",
    "argparse": "Namespace",
    "numpy": "ndarray",
}

INERT = {**_V5, **_V8, **_LIBRARIES}
