"""Resize images with pixel centres aligned as networks align them."""

import pyvips


def to_size(image: pyvips.Image, height: int, width: int) -> pyvips.Image:
    """Downsample by Lanczos or upsample by bicubic interpolation.

    libvips's own `resize` shifts upsampled images by half an output pixel, so transparency would not match its image.
    """
    if (image.height, image.width) == (height, width):
        return image
    across, down = width / image.width, height / image.height
    if across < 1 or down < 1:
        return image.resize(across, vscale=down, kernel="lanczos3")
    return image.affine(
        [across, 0, 0, down],
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=[0, 0, width, height],
        idx=0.5 - 0.5 / across,
        idy=0.5 - 0.5 / down,
        extend="copy",
    )
