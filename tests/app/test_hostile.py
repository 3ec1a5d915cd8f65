"""Uploads that could harm: the server goes on, says why, and nothing of them stays."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hostile import NAMES, uploads
from PIL import Image
from visit import download, order, send

from archsr.app.security.upload_limits import safe_name


def photograph(seed, shape=(40, 48)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


MOST = pytest.param(1, marks=pytest.mark.slow, id="all")


@pytest.mark.parametrize("every", [pytest.param(8, marks=pytest.mark.gate), MOST])
def test_hostile_uploads(server, every):
    """A hundred and more, or every eighth of them."""
    url, tried, refused, served = server.url, 0, [], []
    beside = everything_beside(server)
    assert order(url, send(url, "first.png", photograph(0, (640, 200))), "first.png")[0] == "complete"
    before, known = server.memory(), server.files()
    for name, content in uploads(every):
        tried += 1
        path = send(url, name, content)
        kind, answer = ("refused at the door", None) if path is None else order(url, path, name)
        if kind == "complete":
            served.append(name)
            shown, data = download(url, answer)
            assert Path(shown).stem == Path(safe_name(name)).stem + "_x4"
            Image.open(io.BytesIO(data)).verify()
        else:
            refused.append(name)
            assert path is None or answer["error"], name
            assert path is None or not Path(path).exists(), f"{name} stays"
    assert tried >= 100 / every
    assert len(refused) >= 60 / every
    assert set(NAMES) & set(refused) <= {".."}, "a good image is welcome under any name"
    [folder] = server.temp.iterdir()
    waiting = [p for p in server.files() - known if "results" not in p.parts]
    assert {p.parent.parent for p in waiting if p.parent != folder} == {folder}, "each in a folder of its own"
    assert server.memory() - before < 200 * 2**20
    assert everything_beside(server) == beside
    assert order(url, send(url, "last.png", photograph(1)), "last.png")[0] == "complete"


def everything_beside(server):
    return {p for p in server.temp.parent.rglob("*") if server.temp not in p.parents}


@pytest.mark.gate
def test_twenty_visitors_at_once_are_all_served(server):
    def visit(number):
        path = send(server.url, f"photo {number}.png", photograph(number))
        kind, answer = order(server.url, path, f"photo {number}.png")
        return kind, download(server.url, answer)

    with ThreadPoolExecutor(20) as crowd:
        answers = list(crowd.map(visit, range(20)))
    assert [kind for kind, _ in answers] == ["complete"] * 20
    assert [name for _, (name, _) in answers] == [f"photo {n}_x4.png" for n in range(20)]
    assert len({data for _, (_, data) in answers}) == 20, "nobody has another's"
