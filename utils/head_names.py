"""What ``--head`` calls the heads that a neck can have."""

ANCHOR, ANCHOR_FREE = HEADS = ("anchor", "anchor-free")
HEAD_HELP = "head of the model: YOLOv5's with anchors, or the anchor-free one of YOLOv8; without it the model YAML's"
