"""Seven detections beside three labels, whose matches and confusions the reference gives."""

import torch

DETECTIONS = torch.tensor(
    [
        [10, 10, 110, 110, 0.9, 0],
        [12, 12, 108, 112, 0.8, 0],
        [200, 200, 300, 300, 0.7, 1],
        [205, 195, 310, 290, 0.6, 2],
        [205, 195, 300, 300, 0.55, 1],
        [400, 400, 450, 450, 0.3, 0],
        [0, 0, 50, 50, 0.2, 2],
    ]
)
LABELS = torch.tensor([[0.0, 10, 10, 112, 108], [1, 200, 200, 305, 300], [2, 600, 600, 700, 700]])
