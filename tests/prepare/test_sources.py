"""Sources of photographs: folders, archives and datasets give the same names, bytes and shards."""

import gzip
import io
import json
import multiprocessing
import os
import pickle
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tracemalloc
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archsr.config import PrepareConfig
from archsr.data.prepare.pipeline import prepare
from archsr.data.prepare.sources.opening import FolderPhotos, open_photos
from archsr.data.versions import current
from archsr.errors import UserError

SETTINGS = PrepareConfig(val=0.3, test=0.3, tile=128, min_side=120, pair_size=64)
ODD_NAMES = [
    "two words.jpg",
    "ünï cödé – façade.jpg",
    unicodedata.normalize("NFD", "é") + ".jpg",
    "é.jpg",
    "new\nline.jpg",
    "-rf.jpg",
    "a" * 196 + ".jpg",
    "dots...",
    "SHOUT.JPG",
    "no ending",
    "quote'\"s.jpg",
    "back\\slash.jpg",
    "star*[1]?.jpg",
    "🏛.jpg",
    " leading and trailing .jpg ",
    "C:",
    "owner@split.jpg",
]


def noise_bytes(seed, side=200):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def images():
    """Twelve images in twelve projects, by name."""
    return {f"project {i:02d}/façade {i}.jpg": noise_bytes(i) for i in range(12)}


def as_folder(files, place):
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def as_zip(files, place):
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return place


def as_tar(files, place, mode="w"):
    with tarfile.open(place, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return place


def as_dataset(files):
    import datasets

    labels = sorted({name.split("/")[0] for name in files})
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=labels),
            "architect": datasets.Value("string"),
            "year": datasets.Value("int32"),
        }
    )
    rows = {
        "image": [{"bytes": c, "path": n.split("/")[-1]} for n, c in files.items()],
        "label": [n.split("/")[0] for n in files],
        "architect": ["Gaudí" for _ in files],
        "year": [1900 if n == min(files) else None for n in files],
    }
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture(scope="module")
def kinds(images, tmp_path_factory):
    """The same images as every kind of source: the command line's argument by kind."""
    import datasets

    top = tmp_path_factory.mktemp("kinds")
    as_folder(images, top / "folder")
    found = as_dataset(images)
    (top / "parquets").mkdir()
    found.to_parquet(top / "parquets" / "train-00000.parquet")
    found.to_parquet(top / "alone [1].parquet")
    found.save_to_disk(top / "saved")
    datasets.DatasetDict({"train": found, "test": found.select(range(2))}).save_to_disk(top / "splits")
    as_zip(images, top / "a.ZIP")
    as_tar(images, top / "a.tar")
    for ending in ("gz", "bz2", "xz"):
        as_tar(images, top / f"a.tar.{ending}", f"w:{ending}")
    return {
        "folder": f"{top}/folder",
        "zip": f"{top}/a.ZIP",
        "tar": f"{top}/a.tar",
        "tar.gz": f"{top}/a.tar.gz",
        "tar.bz2": f"{top}/a.tar.bz2",
        "tar.xz": f"{top}/a.tar.xz",
        "parquet file": f"{top}/alone [1].parquet",
        "parquet folder": f"hf:{top}/parquets",
        "imagefolder": f"hf:{top}/folder",
        "saved": f"hf:{top}/saved",
        "saved splits": f"hf:{top}/splits@train",
    }


KINDS = ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "parquet file", "parquet folder", "imagefolder",
         "saved", "saved splits"]  # fmt: skip


@pytest.fixture(scope="module")
def wanted(kinds, tmp_path_factory):
    """The shards made from the folder."""
    out = tmp_path_factory.mktemp("wanted") / "out"
    prepare(Path(kinds["folder"]), out, SETTINGS)
    return {p.name: p.read_bytes() for p in current(out).iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_names_and_bytes(kinds, images, kind, tmp_path):
    with open_photos(kinds[kind], unpack_to=tmp_path) as photos:
        assert photos.names() == sorted(images)
        assert {name: photos.read(name) for name in photos.names()} == images
        stamps = {name: photos.stamp(name) for name in photos.names()}
        assert photos.origin == kinds[kind]
    assert len(set(stamps.values())) == len(stamps)
    with open_photos(kinds[kind], unpack_to=tmp_path) as again:
        assert {name: again.stamp(name) for name in again.names()} == stamps
        assert again.read(min(images)) == images[min(images)]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "parquet file", "imagefolder"])
def test_every_kind_gives_the_same_shards(kinds, wanted, kind, tmp_path):
    prepare(kinds[kind], tmp_path / "out", SETTINGS)
    made = {p.name: p.read_bytes() for p in current(tmp_path / "out").iterdir()}
    theirs = dict(wanted)
    for found in (made, theirs):  # these describe where the photographs came from
        found["manifest.json"] = {**json.loads(found["manifest.json"])["splits"]}
        del found["report.html"], found["sources.jsonl"], found["stamps.json"]
    assert made == theirs


def _first(photos):
    return photos.read(photos.names()[0])


def test_worker_processes_open_their_own(kinds, images):
    everything = [open_photos(kinds[kind]) for kind in ("folder", "zip", "tar.gz")]
    for photos in everything:
        photos.names()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_first, everything) == [images[min(images)]] * 3
    for photos in everything:
        copies = {id(pickle.loads(pickle.dumps(photos))) for _ in range(3)}
        assert len(copies) == 1, "opened once in a process, however often it arrives"
        photos.close()


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_odd_names_just_work(tmp_path, kind):
    files = {f"odd/{name}": noise_bytes(i, side=30) for i, name in enumerate(ODD_NAMES)}
    make = {"folder": as_folder, "zip": as_zip, "tar": as_tar}[kind]
    with open_photos(str(make(files, tmp_path / f"odd.{kind}"))) as photos:
        assert photos.names() == sorted(files)
        assert {name: photos.read(name) for name in photos.names()} == files


def test_odd_names_become_shards(tmp_path):
    files = {f"{i}/{name}": noise_bytes(i) for i, name in enumerate(ODD_NAMES)}
    (as_folder(files, tmp_path / "odd") / os.fsdecode(b"caf\xe9.jpg")).write_bytes(noise_bytes(99))
    made = prepare(tmp_path / "odd", tmp_path / "out", SETTINGS)
    assert made.left_out == []
    assert made.sources.kept == len(ODD_NAMES) + 1
    listed = [
        json.loads(line)["path"] for line in (current(tmp_path / "out") / "sources.jsonl").read_text().splitlines()
    ]
    assert sorted([*files, "caf\\xe9.jpg"]) == listed


def test_links_are_followed_and_circles_end(tmp_path):
    elsewhere = as_folder({"deep/far.jpg": b"far"}, tmp_path / "elsewhere")
    inner = as_folder({"a/near.jpg": b"near"}, tmp_path / "photos")
    os.symlink(inner, inner / "a" / "circle")
    os.symlink(tmp_path, inner / "upwards")  # would add everything beside the folder
    os.symlink("/", inner / "everything")
    os.symlink(elsewhere, inner / "link")
    os.symlink(elsewhere / "deep", inner / "link again")
    os.symlink(inner / "a", inner / "0 comes before a")
    os.symlink(inner / "a" / "near.jpg", inner / "file link.jpg")
    os.symlink(inner, elsewhere / "back")
    photos = open_photos(str(inner))
    assert photos.names() == ["a/near.jpg", "file link.jpg", "link/deep/far.jpg"]
    assert photos.read("file link.jpg") == b"near"


def test_what_is_no_file_is_listed_and_refused_at_once(tmp_path):
    os.symlink(tmp_path / "nowhere", tmp_path / "dead.jpg")
    os.symlink(tmp_path / "b.jpg", tmp_path / "a.jpg")
    os.symlink(tmp_path / "a.jpg", tmp_path / "b.jpg")
    os.symlink("/dev/zero", tmp_path / "zero.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)  # socket paths are short
        listening.bind("socket.jpg")
        os.chdir(here)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg" / "x.jpg").write_bytes(b"x")
    reasons = {
        "a.jpg": "a link that leads back to itself",
        "b.jpg": "a link that leads back to itself",
        "dead.jpg": "a link to a file that does not exist",
        "pipe.jpg": "a named pipe",
        "socket.jpg": "a socket",
        "zero.jpg": "a device",
    }
    photos = open_photos(str(tmp_path))
    assert photos.names() == sorted([*reasons, "folder.jpg/x.jpg"])
    for name, reason in reasons.items():
        with pytest.raises(OSError, match=reason):
            photos.read(name)
        assert photos.stamp(name)


def test_hidden_folders_and_the_output_are_not_entered(tmp_path):
    names = (".git/a.jpg", "__MACOSX/a.jpg", "x/@eaDir/a.jpg", "$RECYCLE.BIN/a.jpg", "x/.hidden.jpg", "out/y/o.jpg")
    files = dict.fromkeys([*names, "x/a.jpg"], b"a")
    place = as_folder(files, tmp_path / "p")
    os.symlink(place / "out" / "y", place / "link into the output")
    assert open_photos(str(place), exclude=place / "out").names() == ["x/.hidden.jpg", "x/a.jpg"]
    assert open_photos(str(as_zip(files, tmp_path / "p.zip"))).names() == ["out/y/o.jpg", "x/.hidden.jpg", "x/a.jpg"]


def test_folders_without_rights_are_entries(tmp_path, monkeypatch):
    as_folder({"closed/a.jpg": b"a", "open/a.jpg": b"a"}, tmp_path)
    real = os.scandir

    def refusing(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    photos = open_photos(str(tmp_path))
    assert photos.names() == ["closed", "open/a.jpg"]
    with pytest.raises(OSError, match="a folder that cannot be entered"):
        photos.read("closed")


def test_stamps_follow_the_content(tmp_path):
    as_folder({"a.jpg": b"first"}, tmp_path)
    photos = open_photos(str(tmp_path))
    before = photos.stamp("a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"later on")
    assert photos.stamp("a.jpg") != before
    (tmp_path / "a.jpg").unlink()
    assert photos.stamp("a.jpg").startswith("none")


def test_no_more_than_the_bound_is_read(tmp_path):
    files = {"big.bmp": bytes(5000), "small.bmp": bytes(900)}
    for make, name in ((as_folder, "d"), (as_zip, "d.zip"), (as_tar, "d.tar")):
        with open_photos(str(make(files, tmp_path / name)), max_bytes=1000) as photos:
            assert len(photos.read("small.bmp")) == 900
            with pytest.raises(OSError, match="5,000 bytes, more than the limit of 1,000"):
                photos.read("big.bmp")


# ---------------------------------------------------------------- archives


def test_members_that_point_elsewhere_stay_inside(tmp_path):
    files = {
        "/etc/passwd.jpg": b"absolute",
        "../../up.jpg": b"up",
        "x/../clash.jpg": b"evil",
        "x/clash.jpg": b"good",
        "./plain.jpg": b"plain",
        "..": b"nothing",
    }
    for make, ending in ((as_zip, "zip"), (as_tar, "tar")):
        with open_photos(str(make(files, tmp_path / f"a.{ending}"))) as photos:
            names = photos.names()
            assert names == ["etc/passwd.jpg", "plain.jpg", "up.jpg", "x/clash (2).jpg", "x/clash.jpg"]
            assert photos.read("etc/passwd.jpg") == b"absolute"
            assert photos.read("x/clash.jpg") == b"good"
            with pytest.raises(OSError, match="unsafe"):
                photos.read("x/clash (2).jpg")


def test_links_and_devices_inside_archives_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("link.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with open_photos(str(tmp_path / "a.tar")) as photos:
        assert photos.names() == ["hard.jpg", "link.jpg", "pipe"]
        for name, reason in (("hard.jpg", "a link inside"), ("link.jpg", "a link inside"), ("pipe", "a pipe")):
            with pytest.raises(OSError, match=reason):
                photos.read(name)
    with open_photos(str(tmp_path / "a.zip")) as photos, pytest.raises(OSError, match="a link inside the archive"):
        photos.read("link.jpg")


def test_encrypted_and_damaged_members_are_refused_alone(tmp_path):
    path = as_zip({"a.jpg": b"first" * 50, "b.jpg": b"other" * 50}, tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with open_photos(str(path)) as photos:
        assert photos.read("b.jpg") == b"other" * 50
        with pytest.raises(OSError, match="encrypted"):
            photos.read("a.jpg")
    path = as_zip({"a.jpg": os.urandom(500), "b.jpg": b"other"}, tmp_path / "b.zip")
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    with open_photos(str(path)) as photos, pytest.raises(OSError, match="damaged inside the archive"):
        photos.read("a.jpg")


def test_archives_of_other_systems(tmp_path):
    info = zipfile.ZipInfo("x")
    info.create_system, info.filename = 0, "villa\\front.jpg"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"a")
        archive.writestr("nested.zip", b"PK")
        archive.mkdir("empty")
    content = as_zip({"mac/é.jpg": b"a"}, tmp_path / "mac.zip").read_bytes()
    (tmp_path / "mac.zip").write_bytes(content.replace(b"\x00\x08\x00\x00", b"\x00\x00\x00\x00"))
    for name, names in (("a.zip", ["nested.zip", "villa/front.jpg"]), ("mac.zip", ["mac/é.jpg"])):
        with open_photos(str(tmp_path / name)) as photos:
            assert photos.names() == names


def test_of_two_members_with_one_name_the_later_counts(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for content in (b"old", b"newer"):
            member = tarfile.TarInfo("a.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with open_photos(str(tmp_path / "a.tar")) as photos:
        assert photos.names() == ["a.jpg"]
        assert photos.read("a.jpg") == b"newer"


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_archives_are_named(kinds, tmp_path, ending, damage):
    whole = Path(kinds[ending]).read_bytes()
    bad = {"cut": whole[: len(whole) * 2 // 3], "empty": b"", "text": b"this is a letter " * 100}[damage]
    path = tmp_path / f"bad.{ending}"
    path.write_bytes(bad)
    with open_photos(str(path), unpack_to=tmp_path / "u") as photos, pytest.raises(UserError) as caught:
        photos.names()
    assert str(path) in str(caught.value)
    assert "damaged or incomplete" in str(caught.value)
    assert not (tmp_path / "u").exists() or not list((tmp_path / "u").glob("*.tar"))


def test_a_tar_cut_between_two_members_or_damaged_in_a_header_is_named(kinds, tmp_path):
    whole = bytearray(Path(kinds["tar"]).read_bytes())
    with tarfile.open(kinds["tar"]) as archive:
        third = archive.getmembers()[2].offset
    (tmp_path / "cut.tar").write_bytes(whole[:third])
    whole[third + 10] ^= 255
    (tmp_path / "header.tar").write_bytes(whole)
    for name in ("cut.tar", "header.tar"):
        with open_photos(str(tmp_path / name)) as photos, pytest.raises(UserError, match="truncated after"):
            photos.names()


def test_compressed_tars_are_decompressed_once(kinds, tmp_path):
    with open_photos(kinds["tar.gz"], unpack_to=tmp_path) as photos:
        photos.names()
    made = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert sorted(p.suffix for p in made) == [".json", ".tar"]
    with open_photos(kinds["tar.gz"], unpack_to=tmp_path) as photos:
        photos.read(photos.names()[0])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == made
    temporary = open_photos(kinds["tar.gz"])
    temporary.names()
    folder = temporary.spec.unpack_to
    temporary.close()
    assert not folder.exists()


def test_bombs_do_not_fill_the_disk(tmp_path, monkeypatch):
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as file:
        for _ in range(30):
            file.write(bytes(1 << 22))
    with open_photos(str(tmp_path / "bomb.tar.gz"), unpack_to=tmp_path / "u") as photos:
        monkeypatch.setattr("archsr.data.prepare.sources.tars._SLACK", 1 << 23)
        with pytest.raises(UserError, match="decompression bomb"):
            photos.names()
    assert list((tmp_path / "u").iterdir()) == []
    (tmp_path / "a.tar.zst").write_bytes(b"(\xb5/\xfd")
    with pytest.raises(UserError, match="zstd -d"):
        open_photos(str(tmp_path / "a.tar.zst")).names()


# ---------------------------------------------------------------- datasets


def test_columns_and_labels_of_rows(kinds, images):
    first, second = sorted(images)[:2]
    photos = open_photos(kinds["parquet file"])
    assert photos.columns(first) == {"label": "project 00", "architect": "Gaudí", "year": "1900"}
    assert photos.columns(second) == {"label": "project 01", "architect": "Gaudí"}
    assert open_photos(kinds["folder"]).columns(first) == {}


def row_groups(files, place, size):
    """Write a Parquet file with this number of rows in each group."""
    import pyarrow.parquet

    pyarrow.parquet.write_table(as_dataset(files).data.table.combine_chunks(), place, row_group_size=size)
    return str(place)


def test_the_image_of_a_row_is_read_once(images, tmp_path, monkeypatch):
    """Names, stamps and columns do not read images. The report is not counted: it shows a few images again."""
    import datasets

    taken, real = Counter(), datasets.Dataset.__getitem__

    def counting(self, key):
        found = real(self, key)
        if isinstance(key, int) and isinstance(found, dict) and (found.get("image") or {}).get("bytes"):
            taken[found["image"]["path"]] += 1
        return found

    monkeypatch.setattr(datasets.Dataset, "__getitem__", counting)
    monkeypatch.setattr("archsr.data.prepare.writing.assemble.write_report", lambda path, *_: path.touch())
    prepare(row_groups(images, tmp_path / "d.parquet", 5), tmp_path / "out", SETTINGS)
    assert taken == dict.fromkeys((name.split("/")[1] for name in images), 1)


def test_what_is_known_of_rows_takes_no_memory_for_their_images(tmp_path):
    import pyarrow

    size = 1 << 20
    files = {f"project {i}/{i}.jpg": bytes([i]) * size for i in range(6)}
    place = row_groups(files, tmp_path / "d.parquet", 2)
    open_photos(place, unpack_to=tmp_path).names()
    photos, usual = open_photos(place, unpack_to=tmp_path), pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(pool)
    tracemalloc.start()
    try:
        names = photos.names()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for name in names:
            assert photos.stamp(name)
            assert photos.columns(name)["architect"] == "Gaudí"
        assert tracemalloc.get_traced_memory()[1] - before < size
        assert pool.max_memory() < size
    finally:
        tracemalloc.stop()
        pyarrow.set_memory_pool(usual)
    assert {name: photos.read(name) for name in names} == files


def test_images_beside_the_image_are_left_alone(tmp_path):
    import datasets

    kinds = {"style": datasets.Value("string"), "raw": datasets.Value("binary"), "mask": datasets.Image()}
    features = datasets.Features({"image": datasets.Image(), **kinds})
    rows = {
        "image": [{"bytes": b"a", "path": "a.jpg"}],
        "style": ["gothic"],
        "raw": [b"no text"],
        "mask": [{"bytes": b"no image", "path": None}],
    }
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "d")
    photos = open_photos(f"hf:{tmp_path}/d")
    assert photos.names() == ["a.jpg"]
    assert photos.read("a.jpg") == b"a"
    assert photos.columns("a.jpg") == {"style": "gothic"}


def test_rows_without_names_of_their_own(tmp_path):
    import datasets
    import pyarrow.parquet

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a/b", ".."])})
    images = [{"bytes": b"%d" % i, "path": path} for i, path in enumerate([None, "x.jpg", "d/x.jpg", "x.jpg", ""])]
    images += [None, {"bytes": None, "path": "http://elsewhere/y.jpg"}, {"bytes": None, "path": "/nowhere/z.jpg"}]
    labels = [0, 0, 0, 1, None, None, None, -1]
    rows = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
    pyarrow.parquet.write_table(rows.data.table, tmp_path / "d.parquet")  # `to_parquet` would read the images
    photos = open_photos(f"{tmp_path}/d.parquet")
    kept = ["a_b/row-0000000", "a_b/x (2).jpg", "a_b/x.jpg", "row-0000004", "x.jpg"]
    assert photos.names() == sorted([*kept, "row-0000005", "y.jpg", "z.jpg"])
    assert [photos.read(name) for name in kept] == [b"0", b"2", b"1", b"4", b"3"]
    for name, reason in (("row-0000005", "without an image"), ("y.jpg", "elsewhere"), ("z.jpg", "No such file")):
        with pytest.raises(OSError, match=reason):
            photos.read(name)
        assert photos.stamp(name)


def test_splits_are_named(kinds, images):
    spec = kinds["saved splits"].removesuffix("@train")
    assert len(open_photos(f"{spec}@test").names()) == 2
    assert len(open_photos(f"{spec}@train+test").names()) == len(images) + 2
    for bad in (spec, f"{spec}@nothing"):
        with pytest.raises(UserError, match="@train or .*@test or .*@train\\+test"):
            open_photos(bad).names()


def test_datasets_that_cannot_be_used_are_explained(tmp_path, kinds):
    import datasets

    datasets.Dataset.from_dict({"a": [1]}).to_parquet(tmp_path / "no images.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty").mkdir()
    for spec, word in (
        (f"{tmp_path}/no images.parquet", "no column of images among a"),
        (f"{tmp_path}/broken.parquet", "damaged"),
        (f"hf:{tmp_path}/empty", "cannot be read as a dataset"),
        (f"hf:{tmp_path}/absent", "no such folder"),
    ):
        with pytest.raises(UserError, match=word):
            open_photos(spec).names()


UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, pytest.param(UNREACHABLE, marks=pytest.mark.slow)])
def test_the_hub_out_of_reach_is_explained(settings, tmp_path):
    code = (
        "from archsr.data.prepare.sources.opening import open_photos\nfrom archsr.errors import UserError\n"
        "try: open_photos('hf:owner/name@train').names()\nexcept UserError as e: print(e)"
    )
    surroundings = {**os.environ, **settings, "HF_HOME": str(tmp_path), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, timeout=100)
    assert "hf:owner/name@train: cannot be loaded from the hub" in done.stdout, done.stderr
    assert "hf download owner/name" in done.stdout


# ---------------------------------------------------------------- mistakes


def test_mistakes_are_explained(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(noise_bytes(0))
    (tmp_path / "empty").mkdir()
    as_zip({}, tmp_path / "empty.zip")
    for spec, word in (
        (f"{tmp_path}/absent", "no such folder"),
        (f"{tmp_path}/absent.zip", "no such folder, archive"),
        (f"{tmp_path}/photo.jpg", "expected a folder, a .zip"),
        (f"{tmp_path}/empty", "no photographs found"),
        (f"{tmp_path}/empty.zip", "no photographs found"),
    ):
        with pytest.raises(UserError, match=word):
            open_photos(spec).names()


def test_photographs_inside_the_output_are_refused(kinds, tmp_path):
    inside = tmp_path / "out" / "photos"
    shutil.copytree(kinds["folder"], inside)
    shutil.copy(kinds["zip"], tmp_path / "out" / "a.zip")
    for spec in (str(inside), f"{tmp_path}/out/a.zip", f"hf:{inside}", f"{tmp_path}/out"):
        with pytest.raises(UserError, match="lie inside the output"):
            open_photos(spec, exclude=tmp_path / "out")


def test_folders_are_walked_once(kinds, monkeypatch):
    photos = open_photos(kinds["folder"])
    assert isinstance(photos, FolderPhotos)
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("a worker needs no list"))
    photos.read("project 00/façade 0.jpg")
