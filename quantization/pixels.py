"""8-bit pixels as the networks read them."""

import numpy as np
import torch
from torch import Tensor

from edgesr.quantization.calibration import Pixels


def to_tensor(crop: Pixels) -> Tensor:
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    pixels = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
    return torch.from_numpy(pixels) / 255
