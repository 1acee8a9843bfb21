"""The classes that a pickled checkpoint may hold instances of, by the module under which it names them."""

INERT = {
    "models.yolo": "Detect Segment Model BaseModel DetectionModel SegmentationModel ClassificationModel",
    "models.common": "Conv DWConv DWConvTranspose2d TransformerLayer TransformerBlock Bottleneck BottleneckCSP "
    "CrossConv C3 C3x C3TR C3SPP C3Ghost SPP SPPF Focus GhostConv GhostBottleneck Contract Expand Concat Flatten "
    "Proto Classify",
    "models.experimental": "CrossConv C3 Sum GhostConv GhostBottleneck MixConv2d",
    "utils.activations": "SiLU Swish Hardswish HardSwish Mish MemoryEfficientSwish MemoryEfficientMish FReLU AconC "
    "MetaAconC",
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
    "argparse": "Namespace",
    "numpy": "ndarray",
}
