"""The report in a real Chromium, headless: `make test-browser`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import byol
from byol.report.write import write_report
from tests.conftest import SMALL, encoded, picture
from tests.integration.test_report import study_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two runs on 120 pictures in two classes; a class, the files and a run have nasty names."""
    folder = tmp_path_factory.mktemp("browser")
    for label in ("cat", NASTY):
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(60):
            name = folder / "photos" / label / f"{i}{NASTY}.jpg"
            name.write_bytes(encoded(picture(i + 100 * (label == "cat")), "JPEG"))
    for name, rate in (("plain", 0.3), (NASTY, 0.1)):
        overrides = {**SMALL, "epochs": 4, "optimizer.base_learning_rate": rate}
        byol.pretrain(folder / "photos", out=folder / name, overrides=overrides, say=lambda line: None)
    return write_report(folder / "plain", folder / NASTY, out=folder / "page.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert path, "no Chromium was found; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--enable-unsafe-swiftshader"])
        yield opened
        opened.close()


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, scheme: str = "light") -> Iterator[Page]:
    """The page, drawn. At the end: no error, no dialog and no request was seen."""
    phone = width < 600
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # pyright: ignore[reportArgumentType]
        is_mobile=phone,
        has_touch=phone,
    )
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
    page.wait_for_timeout(500)
    yield page
    assert wrong == []
    context.close()


def loneliest_point(page: Page) -> tuple[float, float, int]:
    """(x, y) on the screen of the point of the map that is farthest from all others, and which image it is."""
    page.locator("#map-plot").scroll_into_view_if_needed()
    x, y, point = page.evaluate(
        """() => {
          const plot = document.getElementById("map-plot"), axes = plot._fullLayout, box = plot.getBoundingClientRect();
          const all = plot._fullData.flatMap((trace) => trace.x.map((x, n) =>
            [box.left + axes._size.l + axes.xaxis.d2p(x), box.top + axes._size.t + axes.yaxis.d2p(trace.y[n]), trace.customdata[n]]));
          const apart = ([x, y, point]) => Math.min(...all.filter((o) => o[2] !== point).map((o) => Math.hypot(o[0] - x, o[1] - y)));
          return all.reduce((best, one) => (apart(one) > apart(best) ? one : best));
        }"""
    )
    return x, y, point


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_page_is_drawn_without_errors_and_fits(browser: Browser, page_file: Path, width: int, scheme: str) -> None:
    with opened(browser, page_file, width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".chart svg.main-svg").count() >= 7
        assert page.locator("#neighbour-rows .thumb").count() > 10
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 20, 24)"}[scheme]


def test_colours_follow_the_scheme_while_open(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        colour = "document.querySelector('.plot')._fullLayout.font.color"
        before = page.evaluate(colour)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{colour} !== '{before}'")


def test_hover_on_the_map_shows_the_thumbnail_and_its_name(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        x, y, point = loneliest_point(page)
        page.mouse.move(x - 40, y - 40)
        page.mouse.move(x, y, steps=4)
        page.wait_for_selector("#tip:not([hidden]) .thumb")
        shown = page.evaluate("getComputedStyle(document.querySelector('#tip .thumb')).backgroundImage")
        assert shown.startswith('url("data:image/webp')
        assert page.evaluate(f"content.points.names[{point}].split('/').pop()") in page.locator("#tip").inner_text()
        page.mouse.move(5, 5)
        page.wait_for_selector("#tip", state="hidden")


def test_chosen_point_shows_its_neighbours(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        x, y, point = loneliest_point(page)
        page.mouse.move(x, y, steps=4)
        page.wait_for_selector("#tip:not([hidden])")
        page.mouse.click(x, y)
        page.wait_for_selector("#chosen:not([hidden]) .row")
        assert page.locator("#chosen h3").inner_text().startswith(page.evaluate(f"content.points.names[{point}]"))
        assert page.locator("#chosen .thumb").count() == 7
        page.locator("#clusters .thumb").first.click()
        first = page.evaluate("content.points.names[content.looks[0].clusters[0].members[0]]")
        assert page.locator("#chosen h3").inner_text().startswith(first)


def test_run_buttons_hide_a_run_in_every_chart(browser: Browser, page_file: Path) -> None:
    visible = """[...document.querySelectorAll(".plot, #spectrum-plot")].map((plot) =>
      [0, 1].map((run) => plot._fullData.filter((_, n) => plot.data[n].meta === run).every((trace) => trace.visible === true)))"""
    with opened(browser, page_file) as page:
        assert all(pair == [True, True] for pair in page.evaluate(visible))
        button = page.locator("#run-chips .chip").nth(1)
        assert button.inner_text() == NASTY
        button.click()
        assert all(pair == [True, False] for pair in page.evaluate(visible))
        button.click()
        assert all(pair == [True, True] for pair in page.evaluate(visible))


def test_map_buttons_change_run_kind_colours_and_groups(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        xs = "document.getElementById('map-plot').data.flatMap((trace) => trace.x).slice(0, 20)"
        seen = [page.evaluate(xs)]
        for chips, number in (("#map-kind", 1), ("#map .looks-run", 1)):
            page.locator(f"{chips} .chip").nth(number).click()
            seen.append(page.evaluate(xs))
            assert seen[-1] != seen[-2]
        assert page.locator("#map-legend .chip").all_inner_texts() == [NASTY, "cat"]
        page.locator("#map-legend .chip").nth(0).click()
        assert page.evaluate("document.getElementById('map-plot')._fullData.map((trace) => trace.visible)") == [
            False,
            True,
        ]
        page.locator("#map-colour .chip").nth(1).click()
        assert page.locator("#map-legend .chip").first.inner_text() == "group 1"


def test_map_shows_pictures_that_do_not_overlap(browser: Browser, page_file: Path) -> None:
    boxes = """[...document.querySelectorAll("#map-pictures .thumb")].map((one) => {
      const { left, top, width } = one.getBoundingClientRect();
      return [left, top, width];
    })"""
    with opened(browser, page_file) as page:
        page.locator("#map-plot").scroll_into_view_if_needed()
        shown = page.evaluate(boxes)
        assert len(shown) > 10
        for number, (left, top, width) in enumerate(shown):
            assert all(max(abs(left - x), abs(top - y)) >= width for x, y, _ in shown[:number])
        page.evaluate("Plotly.relayout('map-plot', { 'xaxis.range': [5, 6] })")  # a part of the plane without images
        page.wait_for_function("document.querySelectorAll('#map-pictures .thumb').length === 0")
        page.evaluate("Plotly.relayout('map-plot', { 'xaxis.range': [-1, 1] })")
        page.wait_for_function("document.querySelectorAll('#map-pictures .thumb').length > 5")
        page.locator("#map-shown .chip").click()
        assert page.evaluate(boxes) == []


def test_every_chart_has_a_caption(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        captions = page.locator(".chart p").all_inner_texts()
        assert len(captions) == page.locator(".chart").count() >= 7
        assert all(captions)
        assert page.locator("#map-caption").inner_text().startswith("t-SNE keeps neighbours")
        assert page.locator("main h1, main h2").first.inner_text().startswith("The training was too short to tell")


def test_study_of_a_run_is_drawn(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    run = study_folder(tmp_path / NASTY, page_file.parent / "plain", ended=True)
    file = write_report(run, out=tmp_path / "page.html", num_images=30)
    for width in (1280, 390):
        with opened(browser, file, width) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("#study .chart svg.main-svg").count() >= 8
            drawn = page.evaluate("document.querySelector('#study .plot').data[1]")
            assert drawn["x"][0] == pytest.approx(2.1)
            assert drawn["error_x"]["array"][0] == pytest.approx(0.248, abs=0.001)


def test_view_tells_what_was_done_to_it(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        page.locator("#view-grid .view").nth(1).hover()
        assert page.locator("#view-words").inner_text().startswith("T: crop")


def test_ten_thousand_points_zoom_without_stutter(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    with opened(browser, with_many_points(page_file, tmp_path / "page.html")) as page:
        assert page.evaluate("document.getElementById('map-plot').data.reduce((n, t) => n + t.x.length, 0)") == 10_000
        milliseconds = page.evaluate(
            """async () => {
              const plot = document.getElementById("map-plot"), times = [];
              for (let k = 1; k <= 10; k++) {
                const began = performance.now();
                await Plotly.relayout(plot, { "xaxis.range": [-1 / k, 1 / k], "yaxis.range": [-1 / k, 1 / k] });
                await new Promise(requestAnimationFrame);
                times.push(performance.now() - began);
              }
              return times.sort((a, b) => a - b)[5];
            }"""
        )
        print(f"{milliseconds:.0f} ms for a zoom")
        assert milliseconds < 300  # drawn by the processor here; a graphics card is far quicker


def with_many_points(file: Path, out: Path) -> Path:
    """The page with 10,000 random points in place of its own, of which the first have thumbnails."""
    before, content, after = re.split(r'(?<=id="content">)(.*?)(?=</script>)', file.read_text(), maxsplit=1)
    page = json.loads(content)
    generator = np.random.default_rng(0)
    page["points"]["names"] = [f"image {number}" for number in range(10_000)]
    page["points"]["labels"] = generator.integers(0, 2, 10_000).tolist()
    for seen in page["looks"].values():
        seen["maps"] = {"PCA": generator.uniform(-1, 1, (2, 10_000)).round(4).tolist()}
    out.write_text(before + json.dumps(page).replace("<", "\\u003c") + after)
    return out
