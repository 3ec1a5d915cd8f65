"""Downloads against a local server: verified, resumed, refused."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from archsr.errors import UserError
from archsr.models import download
from archsr.models.download import OFFICIAL, Official, official_file

CONTENT = bytes(range(256)) * 40_000  # 10 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; `server.plan` says how to misbehave, one entry per request."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        plan = server.plan.pop(0) if server.plan else "good"
        if plan == "missing":
            self.send_error(404)
            return
        content = bytes(len(CONTENT)) if plan == "wrong" else CONTENT
        start = 0
        wanted = self.headers.get("Range")
        if wanted and plan != "no ranges":
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: len(body) // 3] if plan == "breaks" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.plan, server.ranges = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path))
    monkeypatch.setitem(OFFICIAL, "thing", Official(f"{url}/thing.pth", DIGEST, len(CONTENT)))
    monkeypatch.setitem(OFFICIAL, "prefixed", Official(f"{url}/p.pth", DIGEST[:8]))
    monkeypatch.setitem(OFFICIAL, "unpublished", Official(f"{url}/u.pth", ""))
    monkeypatch.delenv("ARCHSR_MIRROR", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_is_fetched_once_and_verified(server, tmp_path):
    path = official_file("thing")
    assert path == tmp_path / "weights" / "thing.pth"
    assert path.read_bytes() == CONTENT
    official_file("thing")
    assert len(server.ranges) == 1
    assert {p.name for p in path.parent.iterdir()} == {"thing.pth", "thing.pth.lock"}


def test_processes_that_want_the_same_file_fetch_it_once(server, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(official_file, ["thing"] * 4))
    assert len(set(paths)) == len(server.ranges) == 1
    assert paths[0].read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHSR_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set ARCHSR_CACHE elsewhere"):
        official_file("thing")


def test_an_interrupted_download_goes_on_where_it_stopped(server):
    server.plan = ["breaks"]
    with pytest.raises(UserError, match="Run the command again"):
        official_file("thing")
    assert official_file("thing").read_bytes() == CONTENT
    assert server.ranges[1] == f"bytes={len(CONTENT) // 3}-"


def test_a_server_without_ranges_sends_all_again(server):
    server.plan = ["breaks", "no ranges"]
    with pytest.raises(UserError):
        official_file("thing")
    assert official_file("thing").read_bytes() == CONTENT


def test_wrong_bytes_are_never_used(server, tmp_path):
    server.plan = ["wrong"]
    with pytest.raises(UserError, match="SHA-256"):
        official_file("thing")
    assert not (tmp_path / "weights" / "thing.pth").exists()
    assert official_file("thing").read_bytes() == CONTENT


def test_a_cached_file_that_rotted_is_found(server, tmp_path):
    path = official_file("thing")
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(UserError, match="SHA-256"):
        official_file("thing")


def test_a_leading_part_of_the_digest_is_enough_to_check(server):
    assert official_file("prefixed").exists()
    server.plan = ["wrong"]
    official_file("prefixed").unlink()
    with pytest.raises(UserError, match="SHA-256"):
        official_file("prefixed")


def test_without_a_published_digest_the_first_is_pinned(server, capsys):
    path = official_file("unpublished")
    assert DIGEST in capsys.readouterr().err
    official_file("unpublished")
    assert capsys.readouterr().err == ""
    path.write_bytes(b"other")
    with pytest.raises(UserError, match="SHA-256"):
        official_file("unpublished")


def test_no_network_says_what_to_do(server, monkeypatch, tmp_path):
    server.plan = ["missing"]
    with pytest.raises(UserError, match="HTTP 404"):
        official_file("thing")
    monkeypatch.setenv("ARCHSR_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(UserError) as error:
        official_file("RealESRGAN_x4plus")
    for word in ("copy the file to", str(tmp_path), "ncnn:realesrgan-x4plus"):
        assert word in str(error.value)


def test_a_mirror_replaces_the_site(server, monkeypatch):
    monkeypatch.setitem(OFFICIAL, "elsewhere", Official("http://127.0.0.1:9/thing.pth", DIGEST))
    monkeypatch.setenv("ARCHSR_MIRROR", f"http://127.0.0.1:{server.server_port}/")
    assert official_file("elsewhere").read_bytes() == CONTENT


def test_every_published_digest_has_a_sensible_form():
    for name, official in OFFICIAL.items():
        assert len(official.sha256) in (0, 8, 64), name
        assert official.url.startswith("https://"), name
    assert download.OFFLINE.keys() <= OFFICIAL.keys()
