"""Enlarged files say in their XMP that a network made them and which one, and keep the XMP that they had."""

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import archsr
from archsr.cli import main
from archsr.models.rrdbnet import RRDBNet
from archsr.upscaling.label import ENHANCED, IPTC, ModelLabel, UnreadableXmpError, label_of, labelled
from archsr.upscaling.one_image import OutputOptions, upscale_image
from archsr.upscaling.opening import open_model
from archsr.upscaling.upscaler import Upscaler

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "http://purl.org/dc/elements/1.1/"
LABEL = ModelLabel("tail", "ab" * 32)
# as Adobe's programs write it: properties as attributes, a line break in one
FORMER = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF[1:-1]}">
<rdf:Description rdf:about="uuid:7" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:e="{IPTC}"
 photoshop:Instructions="one&#xA;two" e:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture">
<dc:rights xmlns:dc="{DC}"><rdf:Alt><rdf:li xml:lang="x-default">© Jane &amp; Co</rdf:li></rdf:Alt></dc:rights>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(RRDBNet(scale=2, features=8, growth=4, blocks=1).state_dict(), path)
    return path


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", xmp=FORMER)
    return tmp_path / "photo.jpg"


def xmp_of(path):
    """The XMP as PIL finds it in each format."""
    with Image.open(path) as image:
        image.load()
        found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or getattr(image, "tag_v2", {}).get(700)
    return found.encode() if isinstance(found, str) else found


def properties(xmp):
    """All values of the IPTC properties, by name."""
    found = {}
    for node in ElementTree.fromstring(xmp.decode()).iter():
        if node.tag.startswith(f"{{{IPTC}}}"):
            found.setdefault(node.tag.removeprefix(f"{{{IPTC}}}"), []).append(node.text)
        for name in node.attrib:
            if name.startswith(f"{{{IPTC}}}"):
                found.setdefault(name.removeprefix(f"{{{IPTC}}}"), []).append(node.attrib[name])
    return found


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "webp", "tif"])
def test_every_format_carries_the_label_beside_the_former_xmp(tiny, photo, tmp_path, capsys, ending):
    target = tmp_path / f"large.{ending}"
    assert main(["upscale", str(photo), str(target), "--model", str(tiny)]) == 0
    said = capsys.readouterr()
    assert said.out.count("their XMP says that a network enlarged them") == 1
    assert said.err.count("\n") == 1, said.err  # what is opened; nothing was lost
    xmp = xmp_of(target)
    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    version = importlib.metadata.version("archsr")
    assert properties(xmp) == {
        "DigitalSourceType": ["http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"],
        "AISystemUsed": ["archsr, model tiny"],
        "AISystemVersionUsed": [f"archsr {version}, weights SHA-256 {digest}"],
    }
    root = ElementTree.fromstring(xmp.decode())
    assert root.find(f".//{{{DC}}}rights//{RDF}li").text == "© Jane & Co"
    instructions = [n.attrib.get("{http://ns.adobe.com/photoshop/1.0/}Instructions") for n in root.iter()]
    assert "one\ntwo" in instructions
    assert {n.attrib[f"{RDF}about"] for n in root.iter(f"{RDF}Description")} == {"uuid:7"}


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "webp", "tif"])
def test_exiftool_reads_it(tiny, photo, tmp_path, ending):
    target = tmp_path / f"large.{ending}"
    assert main(["upscale", str(photo), str(target), "--model", str(tiny)]) == 0
    done = subprocess.run(["exiftool", "-json", "-n", "-XMP:all", "-warning", target], capture_output=True, check=True)
    (found,) = json.loads(done.stdout)
    assert found["DigitalSourceType"] == ENHANCED
    assert found["AISystemUsed"] == "archsr, model tiny"
    assert hashlib.sha256(tiny.read_bytes()).hexdigest() in found["AISystemVersionUsed"]
    assert found["Rights"] == "© Jane & Co"
    assert found["Instructions"].split() == ["one", "two"]
    assert found.get("Warning", "[minor]").startswith("[minor]")


def test_no_label_leaves_the_xmp_as_it_was_and_says_nothing(tiny, photo, tmp_path, capsys):
    for ending in ("png", "tif"):
        target = tmp_path / f"plain.{ending}"
        assert main(["upscale", str(photo), str(target), "--model", str(tiny), "--no-label"]) == 0
        assert properties(xmp_of(target))["DigitalSourceType"][0].endswith("digitalCapture")
    assert "XMP" not in capsys.readouterr().out


def test_without_metadata_the_label_is_all_there_is(tiny, photo, tmp_path):
    assert main(["upscale", str(photo), str(tmp_path / "b.png"), "--model", str(tiny), "--no-metadata"]) == 0
    xmp = xmp_of(tmp_path / "b.png")
    assert properties(xmp)["DigitalSourceType"] == [ENHANCED]
    assert b"Jane" not in xmp
    assert (
        main(["upscale", str(photo), str(tmp_path / "c.png"), "--model", str(tiny), "--no-metadata", "--no-label"]) == 0
    )
    assert xmp_of(tmp_path / "c.png") is None


def test_python_labels_too_unless_told_otherwise(tiny, photo, tmp_path):
    model = archsr.load_model(tiny, device="cpu")
    model.upscale_file(photo, tmp_path / "a.webp")
    assert properties(xmp_of(tmp_path / "a.webp"))["AISystemUsed"] == ["archsr, model tiny"]
    model.upscale_file(photo, tmp_path / "b.webp", label=False)
    assert "AISystemUsed" not in properties(xmp_of(tmp_path / "b.webp"))


def test_an_upscaler_without_a_name_says_that_a_network_was_there(tiny, photo, tmp_path):
    upscale_image(photo, tmp_path / "a.png", Upscaler(open_model(str(tiny))[0]))
    assert properties(xmp_of(tmp_path / "a.png"))["DigitalSourceType"] == [ENHANCED]
    upscale_image(photo, tmp_path / "b.png", Upscaler(open_model(str(tiny))[0]), OutputOptions(label=False))
    assert "AISystemUsed" not in properties(xmp_of(tmp_path / "b.png"))


@pytest.mark.parametrize(
    ("xmp", "ending", "why"),
    [
        (FORMER.replace("© Jane".encode(), b"x" * 59000), "jpg", "60,"),
        (b"<x:xmpmeta", "png", "cannot be read"),
        (FORMER.replace(b"<x:xmpmeta", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x:xmpmeta'), "png", "document type"),
    ],
)
def test_xmp_that_cannot_be_kept_is_said_and_the_label_is_there(tiny, tmp_path, capsys, xmp, ending, why):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.webp", xmp=xmp, lossless=True)
    assert main(["upscale", str(tmp_path / "a.webp"), str(tmp_path / f"b.{ending}"), "--model", str(tiny)]) == 0
    said = capsys.readouterr().err
    assert "a.webp: its XMP was left out" in said
    assert why in said
    assert properties(xmp_of(tmp_path / f"b.{ending}"))["DigitalSourceType"] == [ENHANCED]


# ---------------------------------------------------------------- packets


def test_a_generated_image_stays_one_and_its_system_stays_named():
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    former = FORMER.replace(b"digitalCapture", b"trainedAlgorithmicMedia").replace(
        b" e:Digital", b' e:AISystemUsed="Painter" e:Digital'
    )
    found = properties(labelled(former, LABEL))
    assert found["DigitalSourceType"] == [kind]
    assert found["AISystemUsed"] == ["Painter; archsr, model tail"]


def test_elements_and_resources_are_replaced_like_attributes():
    for form in ("<e:DigitalSourceType>{}</e:DigitalSourceType>", '<e:DigitalSourceType rdf:resource="{}"/>'):
        inner = form.format("http://cv.iptc.org/newscodes/digitalsourcetype/print")
        described = f'<rdf:Description xmlns:e="{IPTC}">{inner}</rdf:Description>'
        xmp = f'<rdf:RDF xmlns:rdf="{RDF[1:-1]}">{described}</rdf:RDF>'
        assert properties(labelled(xmp.encode(), LABEL))["DigitalSourceType"] == [ENHANCED]


def test_a_label_twice_names_both_models():
    twice = labelled(labelled(b"", LABEL), ModelLabel("full", "", 0.7))
    assert properties(twice)["AISystemUsed"] == ["archsr, model tail; archsr, model full at strength 0.7"]
    assert len(properties(twice)["DigitalSourceType"]) == 1


@pytest.mark.parametrize(
    "xmp", [b"no XML", b"<a/>", b"<a>" * 5000 + b"</a>" * 5000, b"\xff\xfe\0", b"<a>" + bytes(2**22)]
)
def test_what_is_no_xmp_is_refused(xmp):
    with pytest.raises(UnreadableXmpError):
        labelled(xmp, LABEL)


def test_the_label_of_an_official_model_has_the_hash_of_its_file(monkeypatch, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"weights")
    monkeypatch.setattr("archsr.upscaling.label.local_file", lambda name: tmp_path / "x.bin")
    found = label_of("ncnn:realesrgan-x4plus")
    assert (found.name, found.sha256) == ("realesrgan-x4plus", hashlib.sha256(b"weights").hexdigest())
