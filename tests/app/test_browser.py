"""The page as people use it: in a headless Chromium, wide and on a phone."""

import os
import shutil
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from serving import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

pytestmark = pytest.mark.browser
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader", "--in-process-gpu"]


def chromium():
    """Its program: named by ARCHSR_CHROMIUM, in the PATH, or None for playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("ARCHSR_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: set ARCHSR_CHROMIUM to its program ({str(error).splitlines()[0]})")
        yield made
        made.close()


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def page(request, browser, server):
    context = browser.new_context(viewport=request.param, accept_downloads=True)
    made = context.new_page()
    made.asked = set()
    made.on("request", lambda r: made.asked.add(r.url.split("/")[2] if "://" in r.url else r.url.split(":")[0]))
    made.broken = []
    made.on("pageerror", lambda error: made.broken.append(str(error)))
    made.goto(server.url)
    made.get_by_role("button", name="Enlarge").wait_for()
    yield made
    assert made.asked <= {server.url.split("/")[2], "data", "blob"}, "nothing comes from elsewhere"
    assert made.broken == []
    assert made.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    context.close()


@pytest.fixture
def photo(tmp_path):
    return photograph(tmp_path / "façade 1.jpg", (160, 120))


def photograph(path, size, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def drop(page, *paths):
    """Into the box of the open tab; back when the server has them."""
    page.locator(".tabitem:visible input[type=file]").set_input_files(paths)
    sync_api.expect(page.locator(".tabitem:visible .file-preview").first.locator("tr")).to_have_count(len(paths))


def tab(page, name):
    """Open a tab; on a phone some are behind a button with dots."""
    if page.get_by_role("tab", name=name, exact=True).is_visible():
        page.get_by_role("tab", name=name, exact=True).click()
    else:
        page.locator(".overflow-menu > button").click()
        page.locator(".overflow-dropdown button", has_text=name).click()


def enlarged(page, path):
    drop(page, path)
    page.get_by_role("button", name="Enlarge").click()
    page.get_by_text("1 ready").wait_for(timeout=60_000)


def loaded(page):
    """All images of the comparison, when they are there."""
    page.wait_for_function(
        "(all => all.length && all.every(i => i.complete && i.naturalWidth))"
        "([...document.querySelectorAll('.viewer img')])"
    )
    return page.locator(".viewer img")


def places(page):
    return loaded(page).evaluate_all("all => all.map(i => [i.style.left, i.style.top])")


def test_upload_sizes_and_download(page, photo):
    enlarged(page, photo)
    page.get_by_text("160 × 120, ").first.wait_for()
    page.get_by_text("→ 640 × 480, ").first.wait_for()
    with page.expect_download() as caught:
        page.get_by_role("link", name="façade 1_x4.jpg").click()
    assert caught.value.suggested_filename == "façade 1_x4.jpg"
    assert Image.open(caught.value.path()).size == (640, 480)


def test_at_100_percent_every_pixel_is_one_of_the_screen_and_can_be_reached(page, tmp_path):
    path = photograph(tmp_path / "large.png", (560, 560))
    enlarged(page, path)
    assert loaded(page).count() == 2, "the whole of either side, small"
    page.get_by_role("button", name="100 %", exact=True).click()
    page.wait_for_function("document.querySelectorAll('.viewer img').length > 2")
    shown = loaded(page).evaluate_all("all => all.map(i => [i.naturalWidth, i.width, i.naturalHeight, i.height])")
    assert all(w == drawn and h == high for w, drawn, h, high in shown)
    assert len(shown) < 2 * 25, "only what is seen is fetched"
    stage = page.locator(".viewer .stage")
    stage.focus()
    before = places(page)
    page.keyboard.press("ArrowRight")
    moved = places(page)
    assert moved != before
    stage.hover(position={"x": 40, "y": 60})
    page.mouse.down()
    page.mouse.move(200, 300)
    page.mouse.up()
    assert places(page) != moved


def test_the_line_follows_the_arrow_keys(page, photo):
    enlarged(page, photo)
    left = page.locator(".viewer .plane.left")
    before = left.get_attribute("style")
    page.get_by_role("slider", name="Divider between left and right, %").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    sync_api.expect(left).not_to_have_attribute("style", before)


def test_a_reload_finds_everything_again_and_nobody_else_does(page, server, browser, tmp_path):
    drop(page, *(photograph(tmp_path / f"{n}.png", (400, 300), seed=n) for n in range(6)))
    page.get_by_role("button", name="Enlarge").click()
    page.get_by_text("of 6), tiny").first.wait_for(timeout=30_000)
    page.reload()
    page.get_by_text("6 ready").wait_for(timeout=60_000)
    sync_api.expect(page.locator(".tabitem:visible .file-preview").first.locator("tr")).to_have_count(6)
    page.reload()
    with page.expect_download() as caught:
        page.get_by_role("link", name="All 6 as one zip").click()
    with zipfile.ZipFile(caught.value.path()) as archive:
        assert archive.namelist() == [f"{n}_x4.png" for n in range(6)]
    other = browser.new_page()
    other.goto(server.url)
    other.get_by_role("button", name="Enlarge").wait_for()
    other.wait_for_timeout(1500)
    assert other.get_by_text("6 ready").count() == 0
    assert other.get_by_role("link", name="0_x4.png").count() == 0
    other.close()


def test_how_long_it_takes_is_said_before_and_nothing_is_labelled_with_a_key(page, photo):
    sync_api.expect(page.get_by_role("button", name="Cancel").first).to_be_disabled()
    sync_api.expect(page.get_by_label("Scale")).to_have_value("4× (model's own)")
    drop(page, photo)
    page.get_by_text("on this machine's CPU").wait_for(timeout=30_000)
    words = page.evaluate("[...document.querySelectorAll('button')].map(b => (b.ariaLabel || b.title || b.innerText))")
    assert [word for word in words if "." in word and " " not in word] == []


@pytest.mark.parametrize(
    ("name", "make", "word"),
    [
        ("letter.jpg", lambda p: p.write_bytes(b"Dear Sir or Madam,\n" * 40), "not an image that can be read: a text"),
        ("large.png", lambda p: Image.new("RGB", (2000, 501)).save(p), "more than 1,000,000 pixels"),
    ],
)
def test_a_wrong_file_and_a_large_one_are_told(name, make, word, page, tmp_path):
    make(tmp_path / name)
    drop(page, tmp_path / name)
    page.get_by_role("button", name="Enlarge").click()
    page.get_by_text(word).first.wait_for(timeout=20_000)


def test_too_many_bytes_are_told_before_they_are_sent(page, tmp_path):
    path = tmp_path / "heavy.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)).save(path)
    assert path.stat().st_size > 2**20
    page.locator(".tabitem:visible input[type=file]").set_input_files(path)
    page.get_by_text("exceed the maximum allowed size of 1").first.wait_for(timeout=20_000)
    assert page.get_by_text("archsr app --max-bytes").first.is_visible()


def test_the_password_is_asked_for_and_then_everything_is_there(browser, network, photo, tmp_path):
    with serving(tmp_path / "server", network, ARCHSR_PASSWORD="secret") as server:
        context = browser.new_context(viewport=WIDE)
        page = context.new_page()
        page.goto(server.url)
        for password in ("wrong", "secret"):
            page.get_by_label("username").fill("anyone")
            page.get_by_label("password").fill(password)
            page.get_by_role("button", name="Login").click()
            if password == "wrong":
                page.get_by_text("Incorrect Credentials").wait_for()
        enlarged(page, photo)
        context.close()


def test_progress_cancel_and_a_second_visitor(page, server, browser, tmp_path):
    """The first has much to do; the second is served in between; the first cancels and its work ends."""
    many = [photograph(tmp_path / f"{n}.png", (500, 380), seed=n) for n in range(30)]
    drop(page, *many)
    page.get_by_role("button", name="Enlarge").click()
    page.get_by_text("of 30), tiny").first.wait_for(timeout=30_000)
    other = browser.new_page()
    other.goto(server.url)
    other.get_by_role("button", name="Enlarge").wait_for()
    enlarged(other, photograph(tmp_path / "other.jpg", (80, 60)))
    assert not page.get_by_text("30 ready").is_visible(), "served between the images of the first"
    other.close()
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_text("Cancelled.").wait_for()
    time.sleep(2)
    files = server.files()
    time.sleep(2)
    assert server.files() == files, "nothing more is made"


def test_compare_shows_figures_and_images(page, tmp_path):
    tab(page, "Compare")
    drop(page, photograph(tmp_path / "sharp.png", (320, 300)))
    cancel = page.locator(".tabitem:visible").get_by_role("button", name="Cancel")
    sync_api.expect(cancel).to_be_disabled()
    page.get_by_role("button", name="Degrade and restore").click()
    page.get_by_text("No single metric decides").wait_for(timeout=60_000)
    sync_api.expect(cancel).to_be_disabled()
    for word in ("PSNR, dB ↑", "feature distance ↓", "bicubic", "tiny", "small"):
        sync_api.expect(page.locator(".scores").get_by_text(word, exact=True)).to_be_visible()
    images = page.locator(".exact img")
    sync_api.expect(images).to_have_count(5)
    for image in images.all():
        image.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.exact img')].every(i => i.complete && i.naturalWidth)")
    assert images.evaluate_all("all => all.map(i => i.getBoundingClientRect().width / i.naturalWidth)") == [1] * 5
    assert page.evaluate(IN_THE_GALLERY), "none is cut off"
    assert page.evaluate(VALUES_IN_SIGHT) == []


# whether each image ends above the end of every box around it, as long as none of these can be scrolled
IN_THE_GALLERY = """() => [...document.querySelectorAll('.exact .thumbnail-item')].every(item => {
  const end = item.getBoundingClientRect();
  for (let box = item.parentElement; box && box !== document.body; box = box.parentElement) {
    const edge = box.getBoundingClientRect();
    if (getComputedStyle(box).overflowY !== 'visible' && end.bottom > edge.bottom + 1) return false;
    if (end.right > edge.right + 1) return false;
  }
  return true;
})"""
# the choices whose text can reach their arrow
VALUES_IN_SIGHT = """() => [...document.querySelectorAll('.tabitem input[role=combobox]')].filter(input => {
  const arrow = input.parentElement.querySelector('.icon-wrap:last-of-type');
  if (!input.offsetParent || !arrow || input.getBoundingClientRect().width < 40) return false;
  const room = input.getBoundingClientRect().right - parseFloat(getComputedStyle(input).paddingRight);
  return room > arrow.getBoundingClientRect().left + 1;
}).map(input => input.ariaLabel)"""


def test_an_error_of_compare_is_said_where_the_result_would_be_and_covers_nothing(page):
    tab(page, "Compare")
    page.get_by_role("button", name="Degrade and restore").click()
    said = page.locator(".tabitem:visible .bad")
    sync_api.expect(said).to_have_text("Not done: drop a photograph first")
    sync_api.expect(said).to_have_css("color", "rgb(185, 28, 28)")
    sync_api.expect(page.locator(".toast-wrap")).to_have_text("")
    sync_api.expect(page.locator(".tabitem:visible").get_by_role("button", name="Cancel")).to_be_disabled()


def test_score_cards_begin_with_the_finding_and_the_images(page):
    tab(page, "Score cards")
    page.get_by_text("on the fixed val pairs").first.wait_for()
    page.locator(".figures:visible img").first.wait_for()
    tops = [page.locator(name).first.bounding_box()["y"] for name in (".headline", ".figures", ".card table")]
    assert tops == sorted(tops)
    assert tops[1] < 600
    assert not page.get_by_text("sign test").first.is_visible(), "folded away"
    page.get_by_text("Statistics: intervals").click()
    sync_api.expect(page.get_by_text("sign test").first).to_be_visible()


def test_runs_are_there(page):
    tab(page, "Runs")
    page.get_by_text("iteration 6 of 6").or_(page.locator("p", has_text="iteration 6 of 6")).first.wait_for()
    sync_api.expect(page.locator(".state")).to_have_text("finished")
    sync_api.expect(page.locator(".state")).to_have_css("background-color", "rgb(21, 128, 61)")
    page.locator("canvas:visible, svg.marks:visible").first.wait_for(timeout=20_000)


def test_everything_can_be_reached_by_keyboard(page):
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(e => e.ariaLabel || e.innerText || e.type || e.tagName)(document.activeElement)"))
    words = " ".join(reached)
    for word in ("Compare", "Enlarge", "Cancel", "Models", "Scale", "Format"):
        assert word in words, reached
