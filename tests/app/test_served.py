"""The page through its interface: what comes out is what the commands make, and what may not come in stays out."""

import json
import os
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio.routes import App
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image, ImageCms
from serving import serving

from archsr.cli import main
from archsr.runs.summary import row_of

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def client(server):
    made = Client(server.url, verbose=False, download_files=False)
    yield made
    made.close()


def photograph(path, size=(48, 40), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, icc_profile=SRGB)
    return path


def enlarge(client, *photos, **wanted):
    options = {"models": ["small"], "scale": "model's own", "strength": 1, "tile": "what memory allows",
               "ending": "original's", **wanted}  # fmt: skip
    return client.predict([handle_file(str(p)) for p in photos], *options.values(), api_name="/upscale")


def results(server, answer):
    """The downloads, by name, as a visitor gets them."""
    files = answer[0]["value"] if isinstance(answer[0], dict) and "value" in answer[0] else answer[0]
    return {f["orig_name"]: urllib.request.urlopen(f["url"]).read() for f in files}


def refused(url, data=None, **headers):
    request = urllib.request.Request(url, data=data, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    return caught.value.code, caught.value.read().decode()


# ---------------------------------------------------------------- upscale


@pytest.mark.parametrize("name", ["façade – 1.jpg", "Haus am Ring (Süd).png", "no ending"])
def test_the_result_is_that_of_the_command_under_the_originals_name_and_its_scale(
    name, client, server, network, tmp_path
):
    photo = photograph(tmp_path / name) if "." in name else photograph(tmp_path / "x.png").rename(tmp_path / name)
    got = results(server, enlarge(client, photo))
    ending = Path(name).suffix or ".png"
    assert list(got) == [f"{Path(name).stem}_x4{ending}"]
    wanted = tmp_path / f"by_command{ending}"
    assert main(["upscale", str(photo), str(wanted), "--model", str(network), "--device", "cpu"]) == 0
    assert next(iter(got.values())) == wanted.read_bytes()
    assert b"digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in wanted.read_bytes()
    image = Image.open(wanted)
    assert (image.size, image.getexif()[0x010F], image.info["icc_profile"]) == ((192, 160), "Maker", SRGB)


def test_scale_strength_format_and_several_models(client, server, run, tmp_path):
    photo = photograph(tmp_path / "a.jpg")
    wanted = {"models": ["tiny", "small"], "scale": "1.5", "strength": 0.5, "tile": "128", "ending": "PNG"}
    got = results(server, enlarge(client, photo, **wanted))
    assert list(got) == ["a_x1.5_tiny.png", "a_x1.5_small.png"]
    by_command = tmp_path / "by_command.png"
    options = ["--model", str(run), "--scale", "1.5", "--strength", "0.5", "--tile", "128", "--device", "cpu"]
    assert main(["upscale", str(photo), str(by_command), *options]) == 0
    assert got["a_x1.5_tiny.png"] == by_command.read_bytes()


def test_bad_photographs_are_named_and_removed_and_the_others_are_enlarged(client, server, tmp_path):
    good, bad = photograph(tmp_path / "good.png", seed=7), tmp_path / "bad.png"
    bad.write_bytes(b"Dear Sir or Madam,\n" * 40)
    answer = enlarge(client, bad, good)
    assert list(results(server, answer)) == ["good_x4.png"]
    assert "**1 ready**" in answer[1]
    assert "`bad.png`: not an image that can be read: a text" in answer[1]
    assert not [p for p in server.files() if p.name == "bad.png"]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda p: Image.new("RGB", (2000, 501)).save(p), "2000×501 is more than 1,000,000 pixels"),
        (lambda p: p.write_bytes(b""), "empty file"),
        (lambda p: p.write_bytes(b"<!DOCTYPE html><html>"), "a web page"),
    ],
)
def test_an_order_of_nothing_usable_is_an_error_with_the_reason(make, word, client, server, tmp_path):
    path = tmp_path / "unusable.png"
    make(path)
    before = server.files()
    with pytest.raises(AppError, match=word):
        enlarge(client, path)
    assert server.files() == before


@pytest.mark.parametrize(
    ("wanted", "word"),
    [
        ({"models": ["../../etc"]}, "not in the list"),
        ({"models": []}, "choose 1 to 4 models"),
        ({"scale": "1000"}, "not in the list"),
        ({"strength": 7}, "greater than maximum"),
        ({"tile": "-1"}, "not in the list"),
        ({"ending": ".exe"}, "not in the list"),
    ],
)
def test_what_the_page_does_not_offer_is_refused(wanted, word, client, tmp_path):
    with pytest.raises(AppError, match=word):
        enlarge(client, photograph(tmp_path / "a.png"), **wanted)


def test_too_many_and_none_at_all(client, tmp_path):
    photo = photograph(tmp_path / "a.png")
    with pytest.raises(AppError, match="33 photographs at once; at most 32"):
        enlarge(client, *[photo] * 33)
    with pytest.raises(AppError, match="drop a photograph first"):
        enlarge(client)


def test_who_cancels_leaves_nothing_and_the_next_is_served(client, server, tmp_path):
    large, small = photograph(tmp_path / "large.png", (560, 560)), photograph(tmp_path / "small.png", seed=3)
    enlarge(client, small)
    options = (["small"], "model's own", 1, "128", "original's")
    job = client.submit([handle_file(str(large))] * 20, *options, api_name="/upscale")
    while not (job.status().progress_data or job.done()):
        pass
    job.cancel()
    assert "**1 ready**" in enlarge(client, small)[1]
    results_folder = {p.name for p in server.wait_for_files(server.files()) if "results" in p.parts}
    assert "small_x4.png" in results_folder


# ---------------------------------------------------------------- compare and runs


def test_a_trial_measures_what_it_shows(client, server, tmp_path):
    from archsr.evaluation.metrics import perceptual
    from archsr.images.pixels import pixels_to_tensor
    from archsr.metrics.psnr_ssim import psnr

    photo = photograph(tmp_path / "sharp.png", (320, 300))
    answer = client.predict(handle_file(str(photo)), ["tiny", "small"], "as tiny", "256", 3, api_name="/restore")
    table, words = answer[0]["value"], answer[1]
    rows = {row[0]: row[1:] for row in table["data"]}
    assert list(rows) == ["bicubic", "tiny", "small"]
    assert "JPEG" in answer[7]
    shown = {item["caption"]: item["image"]["url"] for item in answer[5]["value"]}
    assert list(shown) == ["input", "bicubic", "tiny", "small", "ground truth"]
    tensors = {n: pixels_to_tensor(np.array(Image.open(urllib.request.urlopen(u)))) for n, u in shown.items()}
    assert {t.shape for t in tensors.values()} == {(1, 3, 256, 256)}
    for name, (decibels, *_) in rows.items():
        assert decibels == pytest.approx(float(psnr(tensors[name], tensors["ground truth"])), abs=1e-4)
    assert table["headers"] == ["model", "PSNR, dB ↑", "feature distance ↓", "SSIM ↑", "NIQE ↓"]
    [distance] = perceptual()
    for name, (_, apart, *_) in rows.items():
        assert apart == pytest.approx(distance.of(tensors[name], tensors["ground truth"], tensors[name]), abs=1e-4)
        assert f"<td>{apart:.3f}</td>" in answer[6]["value"]
    assert "No single metric decides" in words


def test_the_same_draw_is_the_same_trial_and_another_is_another(client, tmp_path):
    photo = photograph(tmp_path / "sharp.png", (320, 300))
    said = [client.predict(handle_file(str(photo)), ["small"], "realesrgan", "256", draw, api_name="/restore")[7]
            for draw in (1, 1, 2)]  # fmt: skip
    assert said[0] == said[1] != said[2]


def test_a_photograph_too_small_to_degrade_is_an_error(client, tmp_path):
    with pytest.raises(AppError, match="too small; expected at least 96 pixels a side"):
        photo = handle_file(str(photograph(tmp_path / "s.png", (95, 300))))
        client.predict(photo, ["small"], "realesrgan", "256", 0, api_name="/restore")


def test_the_score_card_is_the_evaluations(client, run):
    card = client.predict("tiny: val", api_name="/card")
    report = (run / "evaluation" / "val" / "report.md").read_text()
    whole, _, per_crop = report.partition("\n## Per crop")
    assert per_crop
    assert set(whole.split()) <= set(" ".join((card[2], card[3])).split())
    assert card[0].startswith("**")
    assert "p = " not in card[0] + card[2]
    assert "p = " in card[3]
    files = {f["orig_name"]: urllib.request.urlopen(f["url"]).read() for f in card[4]["value"]}
    assert files["report.html"] == (run / "evaluation" / "val" / "report.html").read_bytes()
    with pytest.raises(AppError, match="no such score card"):
        client.predict("../../etc", api_name="/card")


def test_the_page_of_a_run_says_what_its_files_say_and_writes_nothing_there(client, run):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.rglob("*")}
    answer = client.predict("tiny", api_name="/run")
    row = row_of(run)
    assert answer[0].startswith('<span class="state finished">finished</span>')
    assert f"iteration **{row.step}** of {row.total}" in answer[0]
    losses = [
        e["pixel"] for e in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if e["event"] == "train"
    ]
    drawn = [value for _, value, series in answer[1]["value"]["data"] if series == "pixel"]
    assert drawn == losses
    assert [item["caption"] for item in answer[5]["value"]] == ["iteration 6", "iteration 3", "iteration 0"]
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.rglob("*")} == before
    with pytest.raises(AppError, match="no such run"):
        client.predict("../../etc", api_name="/run")


# ---------------------------------------------------------------- the door


def test_every_page_has_an_interface_with_an_example(server):
    info = json.loads(urllib.request.urlopen(f"{server.url}/gradio_api/info").read())["named_endpoints"]
    assert set(info) == {"/upscale", "/restore", "/card", "/run"}
    for about in info.values():
        assert all(p["example_input"] is not None for p in about["parameters"])
    assert "archsr app --max-bytes" in info["/upscale"]["description"], "who is refused before sending reads it there"
    assert "handle_file('facade.jpg')" in info["/upscale"]["code_snippets"]["python"]


@pytest.mark.parametrize(
    "path",
    ["gradio_api/proxy=http://127.0.0.1:1/x", "gradio_api/vibe-code", "gradio_api/runs", "monitoring", "dev/reload",
     "gradio_api/file=/etc/passwd", "gradio_api/file=../../etc/passwd", "gradio_api/%66ile=/etc/passwd",
     "crop/..%2f..%2fetc/whole", "crop/results/9x9/0_0", f"crop/{'0' * 32}/9x9/0_0", "zip/", f"zip/{'0' * 32}",
     "gradio_api/deep_link", "gradio_api/process_recording", "gradio_api//vibe-code", "gradio_api/file=pyproject.toml"],
)  # fmt: skip
def test_doors_that_are_closed(path, server):
    code, text = refused(f"{server.url}/{path}")
    assert code in (403, 404)
    assert "root:" not in text


def test_bodies_are_bounded(server):
    code, text = refused(
        f"{server.url}/gradio_api/queue/join", bytes(2**20 + 1), **{"Content-Type": "application/json"}
    )
    assert (code, text) == (413, "the request has 1 MB; at most 1 MB are allowed")
    before = server.files()
    boundary = b"--x\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    code, text = refused(f"{server.url}/gradio_api/upload", boundary + bytes(2**20 + 1) + b"\r\n--x--\r\n", **kind)
    assert code == 413, "one file above its limit"
    assert text == "a file may have at most 1 MB; whoever started the page can allow more: archsr app --max-bytes"
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as line:
        length = 32 * 2**20 + 2**16 + 1
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        line.sendall(head.encode())
        assert b" 413 " in line.recv(100), "a body above all limits, before any of it is sent"
    assert server.wait_for_files(before) == before


def test_the_server_fetches_nothing_for_a_visitor(client, server):
    with pytest.raises(AppError, match="fetches nothing"):
        file = {"path": f"{server.url}/favicon.ico", "meta": {"_type": "gradio.FileData"}}
        client.predict([file], ["small"], "model's own", 1, "128", "PNG", api_name="/upscale")


def test_a_file_that_was_not_sent_is_refused(client):
    file = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError):
        client.predict([file], ["small"], "model's own", 1, "128", "PNG", api_name="/upscale")


def test_a_password_is_asked_for(network, tmp_path):
    with serving(tmp_path / "server", network, ARCHSR_PASSWORD="schlüssel") as server:
        code, _ = refused(f"{server.url}/gradio_api/info")
        assert code == 401
        assert open_to_strangers(server.url) == LOGIN_PAGE
        for path in (f"crop/{'0' * 32}/whole", f"crop/{'0' * 32}/9x9/0_0", f"zip/{'0' * 32}"):
            assert refused(f"{server.url}/{path}")[0] == 401
        with pytest.raises(Exception, match="Could not login"):
            Client(server.url, auth=("anyone", "wrong"), verbose=False)
        client = Client(server.url, auth=("anyone", "schlüssel"), verbose=False, download_files=False)
        assert "**1 ready**" in enlarge(client, photograph(tmp_path / "a.png"))[1]
        said = [httpx.post(f"{server.url}/login", data={"username": "a", "password": "b"}) for _ in range(8)]
        assert said[0].status_code == 400
        assert said[-1].status_code == 429


LOGIN_PAGE = {"/", "/login", "/login/", "/assets/{path:path}", "/static/{path:path}", "/svelte/{path:path}",
              "/favicon.ico", "/theme.css"}  # fmt: skip


def open_to_strangers(url):
    """The routes of gradio's app that answer anything but 401 to who has not logged in."""
    routes = list(routes_of(App.create_app(gr.Blocks())))
    assert len(routes) > 50
    found = set()
    for route in routes:
        path = re.sub(r"{[^}]*}", "x", route.path)
        for method in route.methods | {"OPTIONS"}:
            if httpx.request(method, f"{url}{path}", follow_redirects=False).status_code != 401:
                found.add(route.path)
    return found


def routes_of(router):
    for route in router.routes:
        inner = getattr(route, "original_router", None)  # how FastAPI keeps a router that was included
        yield from routes_of(inner) if inner else [route]


def test_a_forged_request_does_not_fill_the_log(server):
    before = len(server.process.stderr)
    path = {"path": "/" + "x" * 900_000, "meta": {"_type": "gradio.FileData"}}
    for data in ([[path], ["small"]], [[], ["y" * 900_000]], [[], ["small"], "z" * 900_000]):
        order = {"data": [*data, *["model's own", 1, "128", "PNG"][len(data) - 2 :]]}
        made = httpx.post(f"{server.url}/gradio_api/call/upscale", json=order)
        if made.status_code == 200:
            link = f"{server.url}/gradio_api/call/upscale/{made.json()['event_id']}"
            assert "event: error" in httpx.get(link, timeout=60).text
    assert len(server.process.stderr) - before < 60_000


def test_another_name_and_another_page_are_refused(server):
    assert refused(f"{server.url}/", Host="evil.example")[0] == 421
    assert refused(f"{server.url}/config", Host="evil.example:7860")[0] == 421
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        for path in ("upload", "queue/join", "call/upscale"):
            assert refused(f"{server.url}/gradio_api/{path}", b"{}", **headers)[0] == 403


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
        ({"Host": "evil.example:7860", "Origin": "http://localhost:7860"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_preflight_of_another_page_is_refused_like_its_request(headers, status, server):
    for path in ("", "gradio_api/upload", "gradio_api/queue/join", "gradio_api/vibe-code"):
        answer = httpx.options(f"{server.url}/{path}", headers=PREFLIGHT | headers)
        assert answer.status_code == status
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_port_that_is_taken_and_no_model_are_plain_errors(server, network, tmp_path, capsys, monkeypatch):
    port = server.url.rsplit(":", 1)[1]
    assert main(["app", str(network), "--port", port]) == 2
    assert f"127.0.0.1:{port}: cannot listen there: Address already in use" in capsys.readouterr().err
    assert main(["app", str(tmp_path / "nothing.pth")]) == 2
    assert "no such weights file" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["app", str(network)]) == 2
    assert "pip install -e '.[app]'" in capsys.readouterr().err
    assert os.environ.get("GRADIO_TEMP_DIR") is None
