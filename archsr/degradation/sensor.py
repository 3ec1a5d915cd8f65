"""Noise of a camera's sensor: it arises in linear light on a mosaic of colours, and is developed with the image.

Formulas and numbers: Brooks et al., "Unprocessing Images for Learned Raw Denoising" (CVPR 2019, arXiv 1811.11127): a
cubic tone curve, a gamma of 2.2, a colour matrix, white balance, and a variance of shot · light + read. Only the noise
passes through the mosaic and its bilinear interpolation; the image keeps its sharpness.
"""

import torch
from torch import Tensor

from archsr.degradation.canvas import Canvas, extend

_BRIGHT = 0.9  # from here on the gains are not inverted, so that highlights stay white


def add_sensor_noise(
    canvas: Canvas, *, shot: Tensor, read: Tensor, gains: Tensor, to_camera: Tensor, rng: torch.Generator
) -> Tensor:
    """Return pixels (b, 3, H, W) in [0, 1] with noise; samples with `shot` 0 are left as they are.

    `shot` and `read` (b,): variances per unit of light and at no light. `gains` (b, 3): of the white balance and the
    exposure. `to_camera` (b, 3, 3): from linear RGB to the camera's colours. All of them and `rng` are on the canvas's
    device.
    """
    pixels = canvas.pixels if canvas.whole else canvas.pixels.masked_fill(~canvas.valid(), 0)
    clear = pixels.clamp(0, 1)
    light = to_light(clear, gains=gains, to_camera=to_camera)
    shot, read = shot[:, None, None, None], read[:, None, None, None]
    raw = (light * _sites(light)).sum(1, keepdim=True).clamp(min=0)
    field = torch.randn(raw.shape, generator=rng, device=raw.device) * (shot * raw + read).sqrt()
    noise = demosaic(canvas.with_pixels(field))
    from_camera = _inverse(to_camera)
    change = developed(light + noise, gains=gains, from_camera=from_camera)
    change -= developed(light, gains=gains, from_camera=from_camera)
    return torch.where(shot > 0, (clear + change).clamp(0, 1), pixels)


def to_light(image: Tensor, *, gains: Tensor, to_camera: Tensor) -> Tensor:
    """Undo the development of (b, 3, h, w) in [0, 1]: tone curve, gamma, colour matrix, gains."""
    linear = (0.5 - torch.sin(torch.asin(1 - 2 * image) / 3)).clamp(min=1e-8) ** 2.2
    colours = (to_camera @ linear.flatten(2)).view_as(linear)
    lower = 1 / gains[:, :, None, None]
    bright = ((colours.mean(1, keepdim=True) - _BRIGHT).clamp(min=0) / (1 - _BRIGHT)) ** 2
    return colours * torch.maximum(bright + (1 - bright) * lower, lower)


def developed(light: Tensor, *, gains: Tensor, from_camera: Tensor) -> Tensor:
    """Develop (b, 3, h, w): gains, colour matrix, gamma, tone curve. It undoes `to_light` except in highlights."""
    balanced = (light * gains[:, :, None, None]).clamp(0, 1)
    linear = (from_camera @ balanced.flatten(2)).view_as(light).clamp(1e-8, 1)
    display = linear ** (1 / 2.2)
    return 3 * display**2 - 2 * display**3


def demosaic(mosaic: Canvas) -> Tensor:
    """Interpolate (b, 3, h, w) bilinearly from a canvas of one channel: rows of red and green, then of green, blue."""
    h, w = mosaic.pixels.shape[2:]
    around = extend(mosaic, before=1, total=(h + 2, w + 2), mode="reflect")  # keeps the order of the colours
    planes = around * _sites(around).roll((1, 1), (1, 2))
    across = planes[..., 1:-1] + 0.5 * (planes[..., :-2] + planes[..., 2:])
    full = across[:, :, 1:-1] + 0.5 * (across[:, :, :-2] + across[:, :, 2:])
    green = planes[:, 1]
    beside = green[:, 1:-1, :-2] + green[:, 1:-1, 2:] + green[:, :-2, 1:-1] + green[:, 2:, 1:-1]
    full[:, 1] = green[:, 1:-1, 1:-1] + 0.25 * beside
    return full


def _sites(image: Tensor) -> Tensor:
    """Return (3, h, w): 1 where the mosaic has a colour, 0 elsewhere."""
    row = torch.arange(image.shape[2], device=image.device)[:, None] % 2
    column = torch.arange(image.shape[3], device=image.device) % 2
    return torch.stack([(1 - row) * (1 - column), (row + column) % 2, row * column]).to(image.dtype)


def _inverse(matrix: Tensor) -> Tensor:
    """Invert (b, 3, 3) by cross products: a general inversion waits for the device to say whether it succeeded."""
    a, b, c = matrix.unbind(1)
    columns = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 2)
    return columns / (a * columns[:, :, 0]).sum(1)[:, None, None]
