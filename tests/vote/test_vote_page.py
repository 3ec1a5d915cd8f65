"""The page over HTTP: voters, their orders, stored votes, and refused requests."""

import io
import json
import re
import socket
import threading
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from asking import A, B, folder_of, page_of, study_of
from PIL import Image

from archsr import vote as package
from archsr.errors import UserError
from archsr.vote import votes as vt
from archsr.vote.server import serve


@pytest.fixture
def study():
    return study_of()


@pytest.fixture
def folder(tmp_path, study):
    return folder_of(tmp_path / "vote", study)


@pytest.fixture
def page(folder, study):
    with page_of(folder, study) as visitor:
        yield visitor


def lines(folder):
    return [json.loads(line) for line in (folder / "votes.jsonl").read_text().splitlines()]


def mean_of(page, path):
    return float(np.asarray(Image.open(io.BytesIO(page.get(path)))).mean())


def test_a_vote_is_stored_at_once_with_all_that_was_said(page, folder, study):
    first = page.state("Anna")
    assert (first["done"], first["of"]) == (0, 12)
    after = page.say("/vote", voter="  Anna ", image=first["next"]["image"], choice="left", seconds=2.25)[1]
    assert after["done"] == 1
    assert after["next"]["image"] != first["next"]["image"]
    [line] = lines(folder)
    one = study.images[first["next"]["image"]]
    assert (line["voter"], line["key"], line["scene"]) == ("Anna", one.key, one.scene)
    assert (line["choice"], line["seconds"]) == ("left", 2.25)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line["time"])


def test_the_stored_side_is_the_one_that_was_shown(page, folder, study):
    """A's image is darker than B's (asking.py)."""
    for _ in study.images:
        shown = page.state("Anna")["next"]
        a_was_left = mean_of(page, shown["left"]) < mean_of(page, shown["right"])
        page.vote("Anna", "left")
        assert lines(folder)[-1]["left"] == ("A" if a_was_left else "B")
        assert mean_of(page, shown["photograph"]) > mean_of(page, shown["input"]) > mean_of(page, shown["left"])
    assert {line["left"] for line in lines(folder)} == {"A", "B"}
    assert page.state("Anna")["next"] is None


def test_every_voter_has_an_order_and_sides_of_his_own_that_stay(folder, study):
    def walk(page, voter, count):
        seen = []
        for _ in range(count):
            seen.append(page.state(voter)["next"])
            assert page.state(voter)["next"] == seen[-1]
            page.vote(voter, "none")
        return seen

    with page_of(folder, study) as page:
        anna, ben = walk(page, "Anna", 5), walk(page, "Ben", 12)
    with page_of(folder, study) as page:  # another day
        anna += walk(page, "Anna", 7)
    for seen in (anna, ben):
        assert sorted(one["image"] for one in seen) == list(range(12))
    assert [one["image"] for one in anna] != [one["image"] for one in ben]
    left = {(one["image"], one["left"]) for one in anna} ^ {(one["image"], one["left"]) for one in ben}
    assert left, "somebody sees an image the other way round"


def test_sides_are_drawn_evenly():
    study = study_of(scenes=100, each=10)
    share = np.mean([study.left("Anna", one.number) == "A" for one in study.images])
    assert abs(share - 0.5) < 0.08  # five standard errors
    others = np.mean([study.left("Anna", n) == study.left("Ben", n) for n in range(1000)])
    assert abs(others - 0.5) < 0.08


def test_the_last_vote_is_taken_back_and_its_image_comes_again(page, folder):
    assert page.back("Anna")["done"] == 0
    shown = [page.vote("Anna", "left")["next"] for _ in range(3)]
    page.vote("Ben", "right")
    assert page.back("Anna")["next"] == shown[1]
    assert page.back("Anna")["next"] == shown[0]
    page.vote("Anna", "right")
    assert len(lines(folder)) == 7
    counted = vt.read(folder, study_of().scenes())
    assert [v.choice for v in counted.of("Anna")] == ["left", "right"]
    assert [v.choice for v in counted.of("Ben")] == ["right"]


def test_a_vote_sent_twice_and_one_on_another_image_count_once(page, folder):
    image = page.state("Anna")["next"]["image"]
    states = [page.vote("Anna", "left", image=image) for _ in range(3)]
    assert [s["done"] for s in states] == [1, 1, 1]
    assert len(lines(folder)) == 1


def test_many_at_once_on_two_pages_of_one_folder(folder, study):
    with page_of(folder, study) as one, page_of(folder, study) as two:

        def walk(page, voter):
            while page.state(voter)["next"] is not None:
                page.vote(voter, "left")

        # Anna votes in two windows at once
        walkers = [(one, "Anna"), (two, "Anna"), (one, "Ben"), (two, "Chris")]
        threads = [threading.Thread(target=walk, args=who) for who in walkers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [(line["voter"], line["key"]) for line in lines(folder)]
    assert sorted(found) == sorted({(v, one.key) for v in ("Anna", "Ben", "Chris") for one in study.images})


def test_nothing_tells_which_model_made_what(page, folder, study):
    page.vote("Anna", "left")
    state = page.state("Anna")
    said = page.get("/").decode() + json.dumps(state) + " ".join(p.name for p in folder.rglob("*"))
    for model in (A, B):
        for word in (rf"\b{model.name}\b", model.weights, model.identity):
            assert not re.search(word, said)
    assert set(state["next"]) == {"image", "left", "right", "input", "photograph"}
    names = [state["next"][side] for side in ("left", "right", "input", "photograph")]
    assert all(re.fullmatch(r"/images/[0-9a-f]{32}\.png", name) for name in names)
    other = study_of(secret="t" * 32)  # the same images in another folder have other names
    assert other.token(0, "A") != study.token(0, "A")


def test_the_page_asks_for_nothing_from_elsewhere(page):
    text = (Path(package.__file__).parent / "page.html").read_text()
    assert page.get("/").decode() == text
    assert not re.search(r"https?:|//[a-z]+\.|@import|<link|src=", text)
    with page.opener.open(page.url, timeout=10) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", ""])
def test_a_foreign_host_is_refused(page, folder, host):
    body = json.dumps({"voter": "Anna"}).encode()
    heads = [("Host", host), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    assert page.raw("GET", "/", [("Host", host)]) == 403
    assert page.raw("POST", "/back", heads, body) == 403
    assert page.raw("GET", "/", [("Host", "localhost"), ("Host", host)]) == 403
    for own in ("localhost:1234", "127.0.0.1", "[::1]:80"):  # other ports: a tunnel
        assert page.raw("GET", "/", [("Host", own)]) == 200


def test_other_pages_cannot_vote(page, folder):
    shown = page.state("Anna")["next"]["image"]
    said = {"voter": "Anna", "image": shown, "choice": "left", "seconds": 1}
    assert page.say("/vote", {"Origin": "https://evil.example"}, **said)[0] == 403
    assert page.send("/vote", json.dumps(said).encode(), {"Content-Type": "text/plain"})[0] == 403
    assert not (folder / "votes.jsonl").exists()
    assert page.say("/vote", {"Origin": page.url}, **said)[0] == 200


@pytest.mark.parametrize("said", [
    {"voter": ""}, {"voter": "x" * 61}, {"voter": "a\u0000b"}, {"voter": "\ud800"}, {"voter": 3}, {},
    {"voter": "Anna", "choice": "A"}, {"voter": "Anna", "choice": ["left"]},
    {"voter": "Anna", "choice": "left", "seconds": "1"}, {"voter": "Anna", "choice": "left", "seconds": float("nan")},
    {"voter": "Anna", "choice": "left", "seconds": -1}, {"voter": "Anna", "choice": "left"},
])  # fmt: skip
def test_what_makes_no_sense_is_refused_and_not_stored(page, folder, said):
    status, answer = page.say("/vote", image=0, **said)
    assert status == 400
    assert answer["error"]
    assert not (folder / "votes.jsonl").exists()


def test_bodies_are_bounded_and_must_be_objects(page):
    kind = {"Content-Type": "application/json"}
    assert page.send("/state", b" " * 4097, kind)[0] == 413
    for content in (b"", b"[1]", b"{", b"\xff", b"[" * 4000):
        assert page.send("/state", content, kind)[0] == 400
    local = [("Host", "localhost"), ("Content-Type", "application/json")]
    assert page.raw("POST", "/state", local) == 411
    assert page.raw("POST", "/state", [*local, ("Transfer-Encoding", "chunked")]) == 411
    assert page.raw("POST", "/state", [*local, ("Content-Length", "-1")]) == 411


@pytest.mark.parametrize("path", [
    "/study.json", "/votes.jsonl", "/images/../study.json", "/images/%2e%2e/study.json", "/images/", "/images/x.png",
    f"/images/{'0' * 32}.png", "//etc/passwd",
])  # fmt: skip
def test_only_the_page_and_images_are_given_out(page, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        page.get(path)


def test_a_damaged_line_is_left_out_and_said(page, folder, study):
    page.vote("Anna", "left")
    with (folder / "votes.jsonl").open("ab") as out:
        out.write(b'{"voter": "Anna", "key"')  # cut off, as by a power cut
    page.vote("Anna", "right")
    counted = vt.read(folder, study.scenes())
    assert [v.choice for v in counted.votes] == ["left", "right"]
    assert counted.damaged == (2,)
    assert counted.warning().startswith("votes.jsonl: line 2 ignored")
    assert page.state("Anna")["done"] == 2


def test_a_port_that_is_taken_is_one_line(folder, study):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match="cannot listen there.*--port"),
            serve(folder, study, host="127.0.0.1", port=port),
        ):
            pass
