"""Real-ESRGAN's U-Net discriminator with spectral normalisation, with the official tensor names."""

import torch.nn.functional as F
from torch import Tensor, nn

from archsr.models.lean import conv_act
from archsr.models.spectral import hooked_conv, normalised


def _sn(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    return normalised(nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False))


class UNetDiscriminatorSN(nn.Module):
    """(b, 3, h, w) to one logit per pixel (b, 1, h, w); h and w must be multiples of 8."""

    def __init__(self, *, features: int = 64) -> None:
        super().__init__()
        f = features
        self.conv0 = nn.Conv2d(3, f, 3, 1, 1)
        self.conv1 = _sn(f, 2 * f, 4, 2)
        self.conv2 = _sn(2 * f, 4 * f, 4, 2)
        self.conv3 = _sn(4 * f, 8 * f, 4, 2)
        self.conv4 = _sn(8 * f, 4 * f, 3, 1)
        self.conv5 = _sn(4 * f, 2 * f, 3, 1)
        self.conv6 = _sn(2 * f, f, 3, 1)
        self.conv7 = _sn(f, f, 3, 1)
        self.conv8 = _sn(f, f, 3, 1)
        self.conv9 = nn.Conv2d(f, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, h, w) to logits (b, 1, h, w). In training mode each call makes one power iteration."""
        x0 = _act(self.conv0, x)
        x1 = _act(self.conv1, x0)
        x2 = _act(self.conv2, x1)
        x3 = _act(self.conv3, x2)
        x4 = _act(self.conv4, _double(x3)) + x2
        x5 = _act(self.conv5, _double(x4)) + x1
        x6 = _act(self.conv6, _double(x5)) + x0
        return conv_act([_act(self.conv8, _act(self.conv7, x6))], self.conv9)


def _act(conv: nn.Module, x: Tensor) -> Tensor:
    return hooked_conv(conv, x, slope=0.2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
