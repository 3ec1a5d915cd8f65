"""A vote without models: a folder of synthetic images, its page, and a voter who speaks HTTP."""

import contextlib
import http.client
import json
import urllib.error
import urllib.request

import numpy as np
from PIL import Image

from archsr.vote.models import VoteModel
from archsr.vote.server import serve
from archsr.vote.study import KINDS, Study, VoteImage, VoteQuestion, image_file, store

A, B = VoteModel("oak", "oak.pth", "aa" * 32), VoteModel("elm", "elm.pth", "bb" * 32)


def study_of(scenes=6, each=2, secret="s" * 32):
    images = [VoteImage(n, f"scene{n // each}/{n}", f"scene{n // each}") for n in range(scenes * each)]
    return Study(VoteQuestion(A, B, "set test", "some images", None, 512), secret, tuple(images))


def folder_of(folder, study):
    """Write images of one colour each: of a pair, A's is darker than B's."""
    (folder / "images").mkdir(parents=True)
    for one in study.images:
        for value, kind in enumerate(KINDS):
            pixels = np.full((8, 8, 3), 60 * value + one.number, np.uint8)
            Image.fromarray(pixels).save(image_file(folder, study.token(one.number, kind)))
    store(folder, study)
    return folder


@contextlib.contextmanager
def page_of(folder, study):
    with serve(folder, study, host="127.0.0.1", port=0) as url:
        yield Visitor(url)


class Visitor:
    """Talks to a page like a browser, without proxies."""

    def __init__(self, url):
        self.url = url
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path):
        with self.opener.open(self.url + path, timeout=10) as answer:
            return answer.read()

    def say(self, path, headers=None, **said):
        heads = {"Content-Type": "application/json", **(headers or {})}
        return self.send(path, json.dumps(said).encode(), heads)

    def send(self, path, content, heads):
        """Return status and answer."""
        request = urllib.request.Request(self.url + path, content, heads, method="POST")
        try:
            with self.opener.open(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def raw(self, method, path, heads, body=b""):
        """Return the status of a request with exactly these headers."""
        line = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        line.putrequest(method, path, skip_host=True)
        for name, value in heads:
            line.putheader(name, value)
        line.endheaders(body)
        with contextlib.closing(line):
            return line.getresponse().status

    def state(self, voter):
        return self.say("/state", voter=voter)[1]

    def vote(self, voter, choice, image=None, seconds=1.5):
        image = self.state(voter)["next"]["image"] if image is None else image
        return self.say("/vote", voter=voter, image=image, choice=choice, seconds=seconds)[1]

    def back(self, voter):
        return self.say("/back", voter=voter)[1]
