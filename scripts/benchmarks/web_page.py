"""The exported page in Chromium and LiteRT in Python, on the same pair, in turns.

    python scripts/benchmarks/web_page.py --rounds 20

It writes the page of the shipped recognizer into a temporary folder, serves it to a headless
Chromium of this machine, and times: the page from its address to "Ready." (nothing is kept from
before), its first answer, an answer once another apex is chosen (reading its PNG file, face, crops,
model, doubts, in the page drawing too) and the model alone. Probabilities of both are compared.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import tyro
from PIL import Image
from playwright.sync_api import sync_playwright
from startup import processor

from casme_tf.clips.frames import read_rgb
from casme_tf.export.artifacts import ShippedArtifact
from casme_tf.export.web_page import export_web
from casme_tf.recognition.recognizer import Recognizer
from casme_tf.synthetic.motion import render_clip
from casme_tf.synthetic.portrait import paint_portrait
from casme_tf.synthetic.schedule import draw_schedule

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAIR = ("onset", "apex")

ANSWER = """() => new Promise((resolve) => {
  const began = performance.now();
  document.addEventListener("answer", ({ detail }) => {
    resolve([performance.now() - began, detail.probabilities]);
  }, { once: true });
  document.getElementById("apex-file").dispatchEvent(new Event("change"));
})"""

LISTEN = """() => {
  let began;
  document.getElementById("apex-file").addEventListener("change", () => {
    began = performance.now();
  }, { capture: true, once: true });
  window.first = new Promise((resolve) => {
    document.addEventListener("answer", () => resolve(performance.now() - began), { once: true });
  });
}"""

# The page's own modules, in the page itself instead of its worker.
LOAD = """async () => {
  const { loadModel, loadRuntime } = await import("./model.js");
  await loadRuntime();
  const facts = await (await fetch("model.json")).json();
  window.run = await loadModel(facts.recognizer, facts.files[facts.recognizer]);
  window.frames = [0, 1].map((shift) => (
    new Uint8Array(224 * 224 * 3).map((_, i) => (7919 * i + shift) % 251)));
}"""
MODEL = """async () => {
  const [onset, apex] = window.frames.map((frame) => [frame, [1, 224, 224, 3]]);
  const began = performance.now();
  await window.run({ onset, apex });
  return performance.now() - began;
}"""


@dataclass(frozen=True)
class Arguments:
    """Time the page and Python."""

    rounds: int = 20
    """Answers of each kind."""


def draw_pair(folder: Path) -> dict[str, Path]:
    """Draw a clip, and write its onset and apex."""
    schedule = draw_schedule(subjects=3, clips=12, frames=17, seed=4)
    clip = schedule.clips[3]
    portrait = paint_portrait(schedule.traits(clip.subject), schedule.portrait_rng(clip.subject))
    frames = list(render_clip(portrait, schedule.motion(clip), schedule.sensor_rng(clip)))
    files = {name: folder / f"{name}.png" for name in PAIR}
    for path, number in zip(files.values(), (0, clip.apex), strict=True):
        Image.fromarray(frames[number]).save(path)
    return files


def milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long something took, and its result."""
    began = time.perf_counter()
    result = work()
    return 1e3 * (time.perf_counter() - began), result


def main(arguments: Arguments) -> None:
    """Time all in turns and print the table."""
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        written = export_web(out=folder / "page")
        files = draw_pair(folder)
        handler = functools.partial(QuietHandler, directory=str(written.folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)

        def load() -> Any:
            page = browser.new_page()
            page.goto(address)
            page.locator("#status:text('Ready.')").wait_for()
            return page

        ready, page = milliseconds(load)
        page.locator("#onset-file").set_input_files(files["onset"])
        page.get_by_alt_text("The chosen Onset frame").wait_for()
        page.evaluate(LISTEN)
        page.locator("#apex-file").set_input_files(files["apex"])
        first = page.evaluate("() => window.first")
        other = load()
        other.evaluate(LOAD)
        with Recognizer() as recognizer:
            artifact = ShippedArtifact(threads=1)
            onset = read_rgb(files["onset"])

            def answer_pair() -> Any:
                return recognizer.pair(onset, read_rgb(files["apex"]))

            crops = {key: crop[None] for key, crop in answer_pair().crops.items()}
            for _ in range(arguments.rounds):
                spent, found = page.evaluate(ANSWER)
                times.setdefault("answer, Chromium", []).append(spent)
                spent, answer = milliseconds(answer_pair)
                times.setdefault("answer, Python", []).append(spent)
                times.setdefault("model alone, Chromium", []).append(other.evaluate(MODEL))
                spent, _ = milliseconds(lambda: artifact(crops))
                times.setdefault("model alone, Python, one thread", []).append(spent)
        difference = max(abs(found[key] - value) for key, value in answer.probabilities.items())
        browser.close()
        server.shutdown()
    print(processor())
    print(written.describe().splitlines()[0])
    print(f"{'from address to ready':34}{ready:8.0f} ms")
    print(f"{'its first answer':34}{first:8.0f} ms")
    for row, each in times.items():
        print(f"{row:34}{median(each):8.1f} ms ({min(each):.1f} … {max(each):.1f})")
    print(f"largest difference of a probability: {difference:.1e}")


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        """Write nothing."""


if __name__ == "__main__":
    main(tyro.cli(Arguments))
