"""`archsr vote`: restore the images once, serve the page until it is stopped, and report the result."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from archsr.config import DataConfig
from archsr.errors import UserError
from archsr.evaluation.pairs import Pairs, open_pairs
from archsr.evaluation.people import RESULT, VOTES_FOLDER, fingerprint_of
from archsr.evaluation.photos.photos import ClientPhotos, open_photos
from archsr.runs.folders import is_run, run_config
from archsr.upscaling.devices import devices_of
from archsr.utils.web import is_loopback, stop_event
from archsr.vote import study as st
from archsr.vote import votes as vt
from archsr.vote.models import models_of, scale_of
from archsr.vote.restoring import restore_all
from archsr.vote.result import markdown, result_of, write
from archsr.vote.server import serve


@dataclass(frozen=True)
class VoteRequest:
    """Which of the models `a` and `b` is better `on` images (default: those of the first run's dataset).

    `photos` is a folder of photographs without ground truth, to use instead.
    """

    a: str
    b: str
    on: str = ""
    split: str = "test"
    limit: int | None = None
    crop: int = 512
    device: str = "all"
    photos: str = ""


def prepare_vote(request: VoteRequest, out: Path | None) -> tuple[Path, st.Study]:
    """Return the vote's folder, with all images in it, and the study. Raises `UserError`."""
    a, b = models_of(request.a, request.b)
    pairs = _pairs(request)
    if request.crop < pairs.scale:
        raise UserError(f"--crop {request.crop}: expected at least {pairs.scale} pixels, which is one input pixel")
    folder = out or VOTES_FOLDER / re.sub(r"[^\w.+-]", "-", f"{a.name}-{b.name}")
    truth = not request.photos
    asking = st.VoteQuestion(a, b, fingerprint_of(pairs), pairs.name, request.limit, request.crop, truth)
    study = restore_all(folder, st.open_study(folder, asking), pairs, devices_of(request.device))
    if not study.images:
        raise UserError(f"{pairs.name}: contains no images")
    return folder, study


def run_vote(request: VoteRequest, *, out: Path | None, host: str, port: int) -> None:
    """Serve the page until SIGINT or SIGTERM, then report the result. Raises `UserError`."""
    folder, study = prepare_vote(request, out)
    with stop_event() as over, serve(folder, study, host=host, port=port) as address:
        print(f"archsr vote: {address} ({len(study.images)} images; Ctrl-C stops it and prints the result)", flush=True)
        if not is_loopback(host):
            print("archsr: anybody who can reach this machine can see the images and vote", file=sys.stderr)
        over.wait()
    report_result(folder)


def report_result(folder: Path) -> None:
    """Print the result so far and write it into the folder. Raises `UserError` if the folder has no vote."""
    study = st.read(folder)
    votes = vt.read(folder, study.scenes())
    if votes.damaged:
        print(f"archsr: {votes.warning()}", file=sys.stderr)
    result = result_of(study, votes)
    if result is None:
        for name in (RESULT, "result.md"):  # all votes were taken back
            (folder / name).unlink(missing_ok=True)
        print(f"{folder}: no votes yet")
        return
    write(folder, result)
    print(markdown(result).strip())
    print(f"written: {folder}/{RESULT}, result.md; every vote is in {vt.NAME}")


def _pairs(request: VoteRequest) -> Pairs | ClientPhotos:
    if request.photos:
        if request.on:
            raise UserError("--on (with ground truth) and --photos (without) exclude each other")
        return open_photos(request.photos, scale=scale_of(request.a, request.b), limit=request.limit)
    runs = [source for source in (request.a, request.b) if is_run(source)]
    if not request.on and not runs:
        raise UserError("no images to vote on: only a run has its own dataset; give --on SHARDS or --on FOLDER")
    data = run_config(runs[0]).data if runs else DataConfig()
    scale = scale_of(request.a, request.b)
    return open_pairs(request.on or data.shards, data, split=request.split, scale=scale, limit=request.limit)
