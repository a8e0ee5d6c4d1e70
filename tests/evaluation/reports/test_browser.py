"""The report as a browser shows it: nothing loaded, nothing broken, on a desk, a phone, paper."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from support.browser import CHROMIUM, FLAGS
from support.drawn_runs import draw_histories, draw_predictions, write_run

from casme_tf.evaluation.reports.html import write_report

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="did not run: there is no chromium on this machine"
)


@dataclass
class Shown:
    """A page in the browser, with what it said and asked for."""

    page: object
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, path: Path, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.goto(path.as_uri(), wait_until="load")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def shown(browser) -> Iterator[Shown]:
    page = browser.new_page()
    seen = Shown(page)
    page.on("console", lambda message: seen.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.messages.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    yield seen
    page.close()


@pytest.fixture(scope="module")
def reports(run, data_dir, tmp_path_factory) -> dict[str, Path]:
    """Reports of the shared run with frames, and of a leaking cross-validation beside another."""
    folder = tmp_path_factory.mktemp("reports")
    trained = folder / "trained"
    trained.mkdir()
    for name in ("config.json", "metrics.json", "predictions.csv", "history.csv"):
        shutil.copy(run / name, trained)
    predictions = draw_predictions(0.7, 1, subjects=26)
    name = "a-run-with-a-name-that-is-much-longer-than-anybody-would-choose-for-it"
    folds = write_run(folder / name, predictions, leak="26 subjects are in both parts")
    draw_histories(predictions).to_csv(folds / "histories.csv", index=False)
    other = write_run(folder / "other", draw_predictions(0.2, 2, subjects=26))
    return {"trained": write_report(trained), "folds": write_report(folds, [other])}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["trained", "folds"])
def test_it_is_shown_whole_and_loads_nothing(shown, reports, name, width):
    shown.open(reports[name], width)
    assert shown.messages == []
    elsewhere = [url for url in shown.requests if not url.startswith("data:")]
    assert elsewhere == [reports[name].as_uri()]
    images = shown.page.evaluate(
        "Promise.all([...document.images].map(async i => {"
        " await i.decode(); return [i.naturalWidth, i.naturalHeight, i.clientWidth, i.alt]; }))"
    )
    assert len(images) > 6
    for natural_width, natural_height, shown_width, alt in images:
        assert min(natural_width, natural_height, shown_width) > 0
        assert alt
    content, window = shown.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert content <= window == width


def test_dots_stand_where_their_figures_are(shown, reports):
    """So that the strips in tables, which are no pictures, are drawn at all and to scale."""
    shown.open(reports["folds"], 1280)
    places = shown.page.evaluate(
        """[...document.querySelectorAll('.subjects tbody tr')].map(row => {
            const strip = row.querySelector('svg').getBoundingClientRect();
            const dot = row.querySelector('.dot').getBoundingClientRect();
            const middle = (dot.left + dot.right) / 2 - strip.left;
            return [middle / strip.width, parseFloat(row.lastElementChild.textContent)];
        })"""
    )
    assert len(places) == 26
    for place, figure in places:
        assert place == pytest.approx(figure, abs=0.004)


def test_text_stands_out_from_what_is_behind_it(shown, reports):
    """At least 4.5 to 1, as WCAG 2.1 asks (success criterion 1.4.3)."""
    for path in reports.values():
        shown.open(path, 1280)
        pairs = shown.page.evaluate(
            """(() => {
            const numbers = text => text.match(/[\\d.]+/g).map(Number);
            const found = {};
            for (const element of document.querySelectorAll('body *')) {
                const own = [...element.childNodes].some(n => n.nodeType == 3 && n.data.trim());
                if (!own || element.closest('svg')) continue;
                let behind = [255, 255, 255];
                const layers = [];
                for (let up = element; up; up = up.parentElement) {
                    layers.unshift(numbers(getComputedStyle(up).backgroundColor));
                }
                for (const [r, g, b, a = 1] of layers) {
                    behind = [r, g, b].map((value, i) => a * value + (1 - a) * behind[i]);
                }
                const front = numbers(getComputedStyle(element).color).slice(0, 3);
                found[[front, behind.map(Math.round)].join('|')] = [front, behind];
            }
            return Object.values(found);
            })()"""
        )
        assert len(pairs) > 5
        assert min(contrast(*pair) for pair in pairs) > 4.5


def contrast(front: list[float], behind: list[float]) -> float:
    light, dark = sorted((luminance(front), luminance(behind)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: list[float]) -> float:
    linear = [
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
        for x in (value / 255 for value in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_can_be_printed(shown, reports, tmp_path):
    shown.open(reports["folds"], 1280)
    path = tmp_path / "report.pdf"
    shown.page.pdf(path=path, prefer_css_page_size=True, print_background=True)
    content = path.read_bytes()
    assert content.startswith(b"%PDF")
    pages = content.count(b"/Type /Page") - content.count(b"/Type /Pages")
    assert 3 <= pages <= 9
    assert b"/MediaBox [0 0 595" in content or b"/MediaBox [0 0 594" in content  # A4
    shown.page.emulate_media(media="print")
    assert shown.page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    shown.page.set_viewport_size({"width": 680, "height": 900})  # 180 mm between the margins
    content = shown.page.evaluate("document.documentElement.scrollWidth")
    assert content <= 680  # tables do not scroll on paper


def test_the_keyboard_reaches_tables_that_are_wider_than_the_window(shown, reports):
    shown.open(reports["folds"], 390)
    wide = shown.page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
        ".map(e => [e.tabIndex, e.getAttribute('aria-label')])"
    )
    assert wide
    assert all(index == 0 and label for index, label in wide)
    assert len(pd.unique(pd.Series([label for _, label in wide]))) == len(wide)
