"""The page of a score card in a headless Chromium, wide and on a phone."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from test_page import shown, tagged, with_distance
from test_verdicts import CLEAR, scores_of

from archsr.evaluation.report.html import page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.browser
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader", "--in-process-gpu"]


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = os.environ.get("ARCHSR_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: set ARCHSR_CHROMIUM to its program ({str(error).splitlines()[0]})")
        yield made
        made.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_sticks_out_nothing_is_loaded_and_one_image_is_at_100_per_cent(browser, tmp_path, width):
    long = "fine-tuned_with_a_rather_long_name_of_a_run_and_its_file.safetensors"
    scores = tagged(with_distance(scores_of({"psnr": CLEAR, "colour": np.linspace(-1, 2, 12)}), new=0.5))
    scores = replace(scores, compared_models=[("old", long), ("new", long)])
    made = page(scores, title=long, protocol=long, crops=[shown(0), shown(1)], figures=[], extras={}, config=long * 9)
    (tmp_path / "report.html").write_text(made, encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 844})
    asked, broken = [], []
    tab.on("request", lambda request: asked.append(request.url.split(":")[0]))
    tab.on("pageerror", lambda error: broken.append(str(error)))
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for folded in tab.locator("summary").all():
        folded.click()
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "opened, neither"
    assert tab.evaluate("(i => [i.width, i.naturalWidth])(document.querySelector('.true img'))") == [340, 340]
    inside = """[...document.querySelectorAll('svg.plot')].every(plot => {
        const whole = plot.getBoundingClientRect(), texts = [...plot.querySelectorAll('text')]
        return texts.every(text => {
            const box = text.getBoundingClientRect()
            return box.right <= whole.right + 1 && box.left >= whole.left - 1
                && parseFloat(getComputedStyle(text).fontSize) >= 12
        })
    })"""
    assert tab.evaluate(inside), "the text of plots is not cut and not small"
    tab.locator(".true input").focus()
    tab.keyboard.press("Home")
    assert tab.evaluate("document.querySelector('.true').style.getPropertyValue('--cut')") == "0%"
    assert set(asked) <= {"file", "data"}
    assert asked.count("file") == 1
    assert broken == []
    tab.close()
