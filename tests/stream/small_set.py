"""Small datasets of any shape: noise of a few pixels, shards of given sizes."""

import hashlib
import io
import tarfile

import torch
from PIL import Image

from archsr.data import manifest as mf
from archsr.utils.digests import digest_of
from archsr.utils.seeds import generator


def small_set(folder, sizes, *, side=40, encoding="PNG"):
    """Write a dataset whose training shards have `sizes` samples, named `SHARD-SAMPLE`; val and test have one each."""
    folder.mkdir(parents=True)
    train = mf.Split(photos=1, scenes=1, samples=sum(sizes), shards=_shards(folder, "train", sizes, side, encoding))
    splits = {"train": train}
    for name in ("val", "test"):
        splits[name] = mf.Split(photos=1, scenes=1, samples=1, shards=_shards(folder, name, [1], side, encoding))
    (folder / "sources.jsonl").write_bytes(b"")
    none = hashlib.sha256(b"").hexdigest()
    sources = mf.Sources(
        origin="drawn", file="sources.jsonl", sha256=none, same="same.jsonl", same_sha256=none, found=1, kept=1, leaks=0
    )
    made = mf.Manifest(
        schema_=mf.SCHEMA,
        scale=4,
        fingerprint=mf.fingerprint(splits),
        prepare={},
        sources=sources,
        left_out=[],
        splits=splits,
    )
    (folder / mf.NAME).write_bytes(mf.to_json(made))
    return folder


def _shards(folder, side_name, sizes, side, encoding):
    return [_shard(folder, f"{side_name}-{n:05d}", count, side, encoding) for n, count in enumerate(sizes)]


def _shard(folder, name, count, side, encoding):
    lines = []
    with tarfile.open(folder / f"{name}.tar", "w") as archive:
        for number in range(count):
            key = f"{name}-{number:05d}"
            members = {"gt": _image(key, side, encoding)}
            if not name.startswith("train"):
                members["lq"] = _image(key + "lq", side // 4, encoding)
            placed = {}
            for member, data in members.items():
                info = tarfile.TarInfo(f"{key}.{member}.png")
                info.size = len(data)
                offset = archive.offset + 512
                archive.addfile(info, io.BytesIO(data))
                placed[member] = mf.Member(offset, len(data), digest_of(data))
            lines.append(mf.index_line(mf.Sample(key, "scene", "photo.jpg", (0, 0, side, side), placed)))
    (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    tar = (folder / f"{name}.tar").read_bytes()
    return mf.Shard(
        file=f"{name}.tar",
        samples=count,
        bytes=len(tar),
        sha256=hashlib.sha256(tar).hexdigest(),
        index=f"{name}.jsonl",
        index_sha256=hashlib.sha256(b"".join(lines)).hexdigest(),
    )


def _image(key, side, encoding):
    pixels = torch.randint(256, (side, side, 3), generator=generator(0, key), dtype=torch.uint8).numpy()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, encoding, quality=95)
    return out.getvalue()
