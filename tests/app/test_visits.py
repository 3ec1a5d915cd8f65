"""What a visitor has: it stays when the page goes, nobody else sees it, and it ends."""

import asyncio
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archsr.app.context import AppContext
from archsr.app.models import ModelCache, ModelChoice
from archsr.app.routes import write_zip
from archsr.app.security.upload_limits import Limits
from archsr.app.storage import Storage
from archsr.app.upscale.forecast import Speeds
from archsr.app.upscale.job import JobProgress, UpscaleRequest
from archsr.app.upscale.service import UpscaleService
from archsr.app.upscale.uploads import PhotographBox, Upload, photograph_box
from archsr.app.visit_html import estimate_progress, results_html, status_html
from archsr.app.visits import Visit, Visits
from archsr.app.work_queue import Worker
from archsr.errors import UserError


@pytest.fixture
def context(network, tmp_path):
    storage, worker = Storage(keep_seconds=1000, max_bytes=2**28, parent=tmp_path), Worker()
    models = ModelCache(
        [ModelChoice("small", str(network)), ModelChoice("twin", str(network))], devices=[torch.device("cpu")], most=2
    )
    yield AppContext(Limits(max_queued=2), storage, models, worker)
    worker.close()
    storage.close()


@pytest.fixture
def service(context):
    return UpscaleService(context, Visits(most=4, keep_seconds=100))


def upload(context, name="front.png", size=(60, 40), seed=0):
    path = context.storage.new_folder() / "sent"
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    made = Upload(path)
    made.name = name
    return made


def order(context, *names, models=("small",), **wanted):
    return UpscaleRequest([upload(context, name, seed=n) for n, name in enumerate(names)], models, **wanted)


async def finished(visit):
    await asyncio.wait([visit.task])


# ---------------------------------------------------------------- work that goes on


def test_work_goes_on_without_anybody_and_the_key_finds_it_again(service, context):
    async def leave():
        visit = service.visits.create()
        service.start(visit, order(context, "front.jpg", "front.jpg", "side.png", models=("small", "twin")))
        assert service.visits.get(visit.key).busy
        await finished(visit)
        return service.visits.get(visit.key)

    visit = asyncio.run(leave())
    names = [p.name for p in visit.results()]
    assert names == ["front_x4_small.jpg", "front_x4_twin.jpg", "front_x4_small (2).jpg", "front_x4_twin (2).jpg",
                     "side_x4_small.png", "side_x4_twin.png"]  # fmt: skip
    assert not visit.busy
    page = results_html(visit)
    assert "60 × 40, " in page
    assert "→ 240 × 160, " in page
    assert f'href="zip/{visit.token}"' in page


def test_a_key_that_was_not_made_here_is_nobodys(service):
    visit = service.visits.create()
    for key in ("", "x", visit.key[:-1], visit.key + "x", None, 7, ["x"]):
        assert service.visits.get(key) is None
    assert service.visits.get(visit.key) is visit
    assert service.visits.with_token("") is None
    assert len({Visit().key for _ in range(100)}) == 100


def test_a_page_that_was_not_told_its_key_yet_begins_one_visit(service):
    visit = service.visits.find_or_create("", "page 1")
    assert service.visits.find_or_create("", "page 1") is visit
    assert service.visits.find_or_create(visit.key, "page 2") is visit
    assert service.visits.find_or_create("", "page 2") is not visit
    assert service.visits.find_or_create("", "") is not service.visits.find_or_create("", "")


def test_who_cancels_ends_it_and_keeps_what_is_ready(service, context):
    async def cancel():
        visit = service.visits.create()
        service.start(visit, order(context, *(f"{n}.png" for n in range(30))))
        while not visit.done:
            await asyncio.sleep(0.01)
        visit.task.cancel()
        await finished(visit)
        return visit

    visit = asyncio.run(cancel())
    assert visit.cancelled
    assert 1 <= len(list(visit.results())) < 30
    assert "Cancelled" in status_html(visit, service.speeds)


def test_work_ends_where_nobody_has_looked_for_long(context):
    service = UpscaleService(context, Visits(most=4, keep_seconds=-1))

    async def wait():
        visit = service.visits.create()
        service.start(visit, order(context, "a.png", "b.png"))
        await finished(visit)
        return visit

    assert list(asyncio.run(wait()).results()) == []


def test_one_order_at_a_time_and_no_more_than_can_wait(service, context):
    async def crowd():
        visits = [service.visits.create() for _ in range(3)]
        for visit in visits[:2]:
            service.start(visit, order(context, "a.png"))
        with pytest.raises(UserError, match="enlarged already"):
            service.start(visits[0], order(context, "a.png"))
        with pytest.raises(UserError, match="too many orders"):
            service.start(visits[2], order(context, "a.png"))
        with pytest.raises(UserError, match="drop a photograph first"):
            service.start(service.visits.create(), order(context))
        for visit in visits[:2]:
            await finished(visit)

    asyncio.run(crowd())


def test_what_cannot_be_read_is_told_with_its_name_made_harmless(service, context):
    async def bad():
        visit = service.visits.create()
        sent = upload(context, "<img src=x onerror=alert(1)>.png")
        Path(sent).write_bytes(b"Dear Sir or Madam,\n" * 40)
        service.start(visit, UpscaleRequest([sent], ["small"]))
        await finished(visit)
        return visit

    said = status_html(asyncio.run(bad()), service.speeds)
    assert "1 could not be enlarged" in said
    assert "a text" in said
    assert "<img" not in said


def test_visits_are_bounded_and_those_that_work_stay(context):
    visits = Visits(most=2, keep_seconds=100)
    first, second, third = visits.create(), visits.create(), visits.create()
    assert visits.get(first.key) is None
    assert visits.get(second.key) is second
    visits.create()
    assert visits.get(third.key) is None, "the one that was not asked for longest"


# ---------------------------------------------------------------- forecasts


def test_a_forecast_before_the_work_and_none_for_what_cannot_be_read(service, context):
    async def ask():
        visit = service.visits.create()
        bad = upload(context, "bad.png")
        Path(bad).write_bytes(b"")
        wanted = order(context, "a.png", "b.png")
        return (
            visit,
            await service.forecast(visit, wanted),
            await service.forecast(visit, UpscaleRequest([bad], ["small"])),
        )

    visit, said, of_bad = asyncio.run(ask())
    assert "2 photographs, 0.0048 megapixels: <strong>about 5 seconds</strong> on this machine's CPU" in said
    assert visit.pixels == {(0, "small"): 2400, (1, "small"): 2400}
    assert of_bad == "<p class='bad'><code>bad.png</code>: empty file</p>"


def test_the_outlook_counts_all_that_is_still_to_do():
    visit, speeds = Visit(), Speeds()
    visit.reset(3, ["m"])
    visit.pixels = {(0, "m"): 1000, (1, "m"): 3000, (2, "m"): 4000}
    speeds.set("m", 10.0)
    now = JobProgress("b.jpg", 1, "m", share=0.5, pixels=3000, tiles=2, started=100.0, reported=250.0)
    share, left = estimate_progress(visit, now, speeds, 250.0)
    assert share == pytest.approx(2500 / 8000)
    assert left == pytest.approx(150 + 400)


# ---------------------------------------------------------------- taking home


def test_a_zip_holds_every_result_as_it_is_and_is_made_once(service, context):
    paths = []
    for number in range(3):
        path = context.storage.new_folder() / f"{number}.png"
        path.write_bytes(bytes([number]) * 5000)
        paths.append(path)
    made = write_zip(paths, context.storage, "0" * 32)
    with zipfile.ZipFile(made) as archive:
        assert archive.namelist() == ["0.png", "1.png", "2.png"]
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("2.png") == b"\2" * 5000
    before = made.stat().st_ino
    assert write_zip(paths, context.storage, "0" * 32).stat().st_ino == before
    context.storage.max_bytes = 100
    assert write_zip(paths[:2], context.storage, "1" * 32) is None


def test_a_box_that_gradio_makes_anew_takes_nothing_from_other_hosts():
    import gradio as gr

    with gr.Blocks():
        box = photograph_box("x")
    again = type(box)(**box.constructor_args)
    assert isinstance(again, PhotographBox)
    assert box.get_block_name() == "file"
    with pytest.raises(gr.Error, match="fetches nothing"):
        asyncio.run(again.async_move_resource_to_block_cache("http://127.0.0.1/x.png"))
    assert not Path("archsr/app/uploads.pyi").exists()


def test_looking_keeps_files_and_forgets_what_is_gone(service, context):
    visit = service.visits.create()
    visit.photos = [upload(context, "a.png"), upload(context, "b.png")]
    Path(visit.photos[1]).unlink()
    seen = visit.last_seen
    time.sleep(0.01)
    assert [p.name for p in service.visits.get(visit.key).photos] == ["a.png"]
    assert visit.last_seen > seen
