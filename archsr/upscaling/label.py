"""State in an image's XMP that a network enlarged it, and which one.

`Iptc4xmpExt:DigitalSourceType` gets `compositeWithTrainedAlgorithmicMedia`. Of the values of IPTC's NewsCodes
(https://cv.iptc.org/newscodes/digitalsourcetype/) this is "augmentation, correction or enhancement using a Generative
AI model": a super-resolution network draws detail that the photograph did not have. The neighbour
`algorithmicallyEnhanced` is for changes "such as sharpening or applying noise reduction", `trainedAlgorithmicMedia` for
images without a photograph. The model is in `AISystemUsed` and `AISystemVersionUsed` of the IPTC Photo Metadata
Standard 2025.1.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape, quoteattr

from archsr.checkpoint import strength_of, weights_of
from archsr.models.ncnn import NCNN
from archsr.models.weights import local_file, names
from archsr.runs.folders import is_run, run_config
from archsr.utils.atomic import sha256

_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
ENHANCED = f"{_TYPES}compositeWithTrainedAlgorithmicMedia"
# an image that was already made by a model stays that
_STRONGER = {f"{_TYPES}trainedAlgorithmicMedia", f"{_TYPES}compositeSynthetic"}
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TYPE, _SYSTEM, _VERSION = "DigitalSourceType", "AISystemUsed", "AISystemVersionUsed"
_LARGEST = 2**22  # bytes of XMP that are parsed
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta>'
_START, _END = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'


class UnreadableXmpError(Exception):
    """An XMP block that is no XML, or has no RDF."""


@dataclass(frozen=True)
class ModelLabel:
    """A model's name for people, the SHA-256 of its weights file, and the strength of a run's fine-tuning."""

    name: str = "unknown"
    sha256: str = ""
    strength: float = 1.0

    @property
    def system(self) -> str:
        """The program and the model."""
        part = "" if self.strength == 1 else f" at strength {self.strength:g}"
        return f"archsr, model {self.name}{part}"

    @property
    def version(self) -> str:
        """The program's version and the weights."""
        weights = f", weights SHA-256 {self.sha256}" if self.sha256 else ""
        return f"archsr {importlib.metadata.version('archsr')}{weights}"


def label_of(source: str, *, strength: float | None = None) -> ModelLabel:
    """Return the label of a run folder, weights file or official name, opened with this strength (`open_model`)."""
    path = Path(weights_of(source, which="chosen" if strength is None else "best"))
    file = local_file(source) if source in names() else path
    share = strength_of(source) if strength is None else strength
    return ModelLabel(_name(source), sha256(file) if file is not None and file.is_file() else "", share)


def _name(source: str) -> str:
    if is_run(source):
        return run_config(source).name
    plain = source.removeprefix("ncnn:") if source in NCNN else Path(source).name
    return plain.removesuffix(".safetensors").removesuffix(".pth").removesuffix(".fp16")


def labelled(xmp: bytes, label: ModelLabel) -> bytes:
    """Return an XMP packet with the label; everything else in `xmp` (may be empty) is kept.

    A former source type is replaced, unless it says that a model made the image; former systems stay before the new
    one. Raises `UnreadableXmpError`.
    """
    try:
        return _labelled(xmp, label)
    except RecursionError:  # minidom visits each level in the one above
        raise UnreadableXmpError("too many levels") from None


def _labelled(xmp: bytes, label: ModelLabel) -> bytes:
    root, rdf = _parsed(xmp or _EMPTY.encode())
    former = {name: _taken(rdf, name) for name in (_TYPE, _SYSTEM, _VERSION)}
    described: Any = root.ownerDocument.createElement("rdf:Description")
    described.setAttribute("xmlns:rdf", _RDF)
    described.setAttribute("xmlns:Iptc4xmpExt", IPTC)
    described.setAttribute("rdf:about", _about(rdf))
    values = {
        _TYPE: former[_TYPE] if former[_TYPE] in _STRONGER else ENHANCED,
        _SYSTEM: "; ".join(filter(None, (former[_SYSTEM], label.system))),
        _VERSION: "; ".join(filter(None, (former[_VERSION], label.version))),
    }
    for name, value in values.items():
        one = root.ownerDocument.createElement(f"Iptc4xmpExt:{name}")
        one.appendChild(root.ownerDocument.createTextNode(value))
        described.appendChild(one)
    rdf.appendChild(described)
    return f"{_START}{_as_xml(root)}{_END}".encode()


def _parsed(xmp: bytes) -> tuple[Any, Any]:
    """Return the root element and the element rdf:RDF."""
    if len(xmp) > _LARGEST:
        raise UnreadableXmpError(f"{len(xmp):,} bytes")
    if b"<!DOCTYPE" in xmp:  # it could define entities that grow without end
        raise UnreadableXmpError("it has a document type")
    try:
        root: Any = minidom.parseString(xmp.rstrip(b"\0 \r\n\t")).documentElement
    except (ExpatError, ValueError, LookupError) as error:
        raise UnreadableXmpError(str(error)) from None
    found = [root] if (root.namespaceURI, root.localName) == (_RDF, "RDF") else root.getElementsByTagNameNS(_RDF, "RDF")
    if not found:
        raise UnreadableXmpError("no RDF")
    return root, found[0]


def _descriptions(rdf: Any) -> list[Any]:  # noqa: ANN401 - minidom has no types
    return [node for node in rdf.childNodes if node.nodeType == node.ELEMENT_NODE]


def _about(rdf: Any) -> str:  # noqa: ANN401
    """Return what the packet describes; all its parts must name the same."""
    return next((node.getAttributeNS(_RDF, "about") for node in _descriptions(rdf)), "")


def _taken(rdf: Any, name: str) -> str:  # noqa: ANN401
    """Remove a property, an attribute or an element, and return its value."""
    value = ""
    for node in _descriptions(rdf):
        if node.hasAttributeNS(IPTC, name):
            value = node.getAttributeNS(IPTC, name)
            node.removeAttributeNS(IPTC, name)
        for child in [c for c in node.childNodes if (c.namespaceURI, c.localName) == (IPTC, name)]:
            text = "".join(part.data for part in child.childNodes if part.nodeType == part.TEXT_NODE)
            value = text.strip() or child.getAttributeNS(_RDF, "resource")
            node.removeChild(child)
    return value


def _as_xml(node: Any) -> str:  # noqa: ANN401
    """Return a node as XML. minidom's own writer loses line breaks in attributes."""
    if node.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE):
        return escape(node.data, {"\r": "&#13;"})
    if node.nodeType != node.ELEMENT_NODE:
        return node.toxml()
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in node.attributes.items())
    return f"<{node.tagName}{attributes}>{''.join(map(_as_xml, node.childNodes))}</{node.tagName}>"
