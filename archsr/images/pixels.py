"""Reading, writing and converting images. Image files and tensors meet only here.

Inside archsr images are float tensors `(b, c, h, w)`, RGB, [0, 1]; at file edges they are uint8 `(h, w, c)` sRGB.
"""

import io
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms, ImageOps

from archsr.images.heic import heif_library, is_heic, refuse_hdr
from archsr.images.image_files import BadImageError, TooManyPixelsError, check_whole, looks_like
from archsr.images.raw_files import refuse_raw
from archsr.utils.atomic import replacing

Pixels = NDArray[np.uint8]

MAX_PIXELS = 150_000_000
# Formats that run other programs (EPS) or hold no photographs (icons, fonts, metafiles) are left out.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
Image.init()  # PIL loads its plugins lazily; `formats` needs all of them
_FORMATS = [f for f in FORMATS if f in Image.OPEN]  # AVIF and JPEG 2000 depend on the build of PIL
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")


@dataclass(frozen=True)
class Photo:
    """A decoded image: `pixels` uint8 (h, w, 3) sRGB, `alpha` uint8 (h, w) or None, and notes on what was converted."""

    pixels: Pixels
    alpha: Pixels | None
    notes: tuple[str, ...]


def read_photo(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a whole image file, upright and in sRGB.

    The EXIF orientation is applied. An embedded ICC profile is converted to sRGB (relative colorimetric with
    black-point compensation). Grey, palette, CMYK and 16-bit images become 8-bit RGB. Raises `BadImageError` if the
    file is no image, truncated, animated, raw or floating point, or has more than `max_pixels`.
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise BadImageError(f"cannot be opened: {error.strerror}") from error
    refuse_raw(io.BytesIO(content), "" if isinstance(source, bytes) else source.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `max_pixels` bounds decompression; EXIF warnings lose no pixels
            with Image.open(io.BytesIO(content), formats=formats_of(content)) as image:
                _check(image, max_pixels)
                refuse_hdr(image.info)
                turned = _is_turned(image)  # TIFF forgets it when loading; PNG may know it only after loading
                image.load()
                check_whole(image, content)
                return _to_rgb(image, turned=turned or _is_turned(image))
    except BadImageError:
        raise
    except Image.UnidentifiedImageError:
        raise BadImageError(f"not an image that can be read{looks_like(content)}") from None
    except Image.DecompressionBombError:
        raise TooManyPixelsError(f"more than {max_pixels:,} pixels") from None
    except Exception as error:  # PIL's decoders raise almost anything on damaged files
        raise BadImageError(f"damaged: {type(error).__name__}: {error}") from error


def formats_of(content: bytes) -> list[str]:
    """Return the formats that PIL may try. Raises `BadImageError` for HEIC if pillow-heif is not installed."""
    if not is_heic(content):
        return _FORMATS
    heif_library()
    return ["HEIF"]


def taken_at(content: bytes) -> str:
    """Return the EXIF time of a photograph as ISO 8601 in the camera's local time, or an empty string."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=formats_of(content)) as image:
                exif = image.getexif()
                said = exif.get_ifd(0x8769).get(0x9003) or exif.get(0x0132)  # DateTimeOriginal, DateTime
        return datetime.strptime(str(said).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()
    except Exception:  # as above; a missing time does not make a photograph unusable
        return ""


def _check(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise TooManyPixelsError(f"{width}×{height} is more than {max_pixels:,} pixels")
    if image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1:
        raise BadImageError(f"animated: {getattr(image, 'n_frames', 1)} frames")
    if image.mode == "F":
        raise BadImageError("floating-point pixels, whose white level is undefined")


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(0x0112, 1) in range(2, 9)


def _to_rgb(image: Image.Image, *, turned: bool) -> Photo:
    notes: list[str] = []
    if image.format in ("JPEG", "MPO") and image.mode == "CMYK" and "adobe" not in image.info:
        image.paste(ImageChops.invert(image))  # PIL assumes that every CMYK JPEG is Adobe's, whose values are inverted
    if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
        notes.append("first page")
    if any("hdrgainmap" in str(name) for name in image.info.get("aux") or ()):
        notes.append("without its HDR gain map")
    upright = ImageOps.exif_transpose(image)
    if turned:
        notes.append("turned upright")
    if upright.mode.startswith("I"):
        upright = _from_16_bit(upright)
        notes.append("16-bit")
    elif upright.mode == "P":
        upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
        notes.append("palette")
    elif upright.mode not in ("RGB", "RGBA"):
        notes.append(upright.mode)
    alpha = _alpha(upright)
    rgb, converted = _to_srgb(upright)
    if converted:
        notes.append(converted)
    pixels = np.array(rgb, dtype=np.uint8)
    return Photo(pixels, alpha, tuple(notes))


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise BadImageError("integer pixels of more than 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _alpha(image: Image.Image) -> Pixels | None:
    """Return the alpha channel, or None if the image has none or is fully opaque."""
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa"):
        return None
    alpha = np.array(image.convert("RGBA").getchannel("A"), dtype=np.uint8)
    return None if alpha.min(initial=255) == 255 else alpha


def _to_srgb(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Convert to RGB in sRGB; return the image and a note if it has a profile. An unusable profile is ignored."""
    base = image if image.mode in ("RGB", "CMYK", "L", "LAB") else image.convert("L" if image.mode == "LA" else "RGB")
    profile = image.info.get("icc_profile")
    if not profile:
        return base.convert("RGB"), None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        if "srgb" in name.lower().replace(" ", "") and base.mode == "RGB":
            return base, None
        converted = ImageCms.profileToProfile(
            base,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        return base.convert("RGB"), f"unusable ICC profile ignored ({error})"
    return (converted or base).convert("RGB"), f"ICC {name}"


def sharpness(image: Image.Image, *, side: int = 256) -> float:
    """Return the mean absolute Laplacian of luma over the middle `side`² pixels in 0-255 units.

    1 is blurred, 10 and more is crisp.
    """
    left, top = ((whole - min(whole, side)) // 2 for whole in image.size)
    middle = image.crop((left, top, left + min(image.width, side), top + min(image.height, side))).convert("L")
    luma = np.asarray(middle).astype(np.int16)
    if min(luma.shape) < 3:
        return 0.0
    core = luma[1:-1, 1:-1]
    return float(np.abs(4 * core - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]).mean())


def encode_webp(pixels: Pixels) -> bytes:
    """Encode as lossless WebP with the fastest method: 0.79 of PNG's size, decoded 1.5 times as fast at 512²."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()


def decode_tensor(data: bytes | bytearray | memoryview) -> torch.Tensor:
    """Decode an image to uint8 (3, h, w) RGB. Raises RuntimeError if the bytes are damaged."""
    # imported late: it takes 160 MiB, and the many processes of `archsr prepare` decode with PIL
    from torchvision.io import ImageReadMode, decode_image

    writable = bytearray(data) if isinstance(data, bytes) else data  # torch warns about memory that is not writable
    return decode_image(torch.frombuffer(writable, dtype=torch.uint8), mode=ImageReadMode.RGB)


def to_float(pixels: torch.Tensor) -> torch.Tensor:
    """Convert uint8 (..., h, w) to float32 in [0, 1] with the same layout."""
    return pixels.to(torch.float32) / 255


def to_uint8(image: torch.Tensor) -> torch.Tensor:
    """Convert float in [0, 1] (clamped) to uint8 with the same layout, rounded half to even."""
    return (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)


def pixels_to_tensor(pixels: Pixels) -> torch.Tensor:
    """Convert uint8 (h, w, 3) to float32 (1, 3, h, w) in [0, 1]."""
    own = pixels if pixels.flags.writeable else pixels.copy()  # torch warns about memory that is not writable
    return to_float(torch.from_numpy(own).permute(2, 0, 1)[None])


def tensor_to_pixels(image: torch.Tensor) -> Pixels:
    """Convert float (1, 3, h, w) or (3, h, w) in [0, 1] to uint8 (h, w, 3)."""
    chw = image[0] if image.dim() == 4 else image
    return to_uint8(chw).permute(1, 2, 0).contiguous().cpu().numpy()


def write_image(path: Path, pixels: Pixels, *, alpha: Pixels | None = None, quality: int = 95) -> None:
    """Write uint8 (h, w, 3) atomically in the format of the suffix. `quality` is for JPEG and WebP."""
    image = Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))
    with replacing(path) as temporary:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            image.convert("RGB").save(temporary, quality=quality, subsampling=0)
        elif path.suffix.lower() == ".webp":
            image.save(temporary, quality=quality, method=4)
        else:
            image.save(temporary)
