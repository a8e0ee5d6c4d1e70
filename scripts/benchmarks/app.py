"""Many clients at once: what the app answers, how soon, and what memory it takes.

    python scripts/benchmarks/app.py --clients 16 --seconds 300

It draws a small stand-in corpus, finds the right answers in this process, starts the app in another
one, and lets each client send pairs and clips one after another. Every answer and every figure
is compared with the right one. Memory is what Linux tells of the app's process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from gradio_client import Client, handle_file
from PIL import Image

from casme_tf.recognition.app.answers import FPS, AppAnswers
from casme_tf.runs import RUNS
from casme_tf.synthetic import synthesize

SUBJECTS, CLIPS, FRAMES, SEED = 4, 12, 17, 41
CLIP_EVERY = 4  # of so many requests one is a clip, which takes longer
SAMPLE_SECONDS = 5
KEEP_MINUTES = 2  # of uploads: longer than a request waits, short enough that many are deleted
TOLERANCE = 1e-6  # of probabilities; the same code on the same processor gives the same numbers


@dataclass(frozen=True)
class Request:
    """A request and its right answer."""

    name: str
    arguments: tuple[Any, ...]
    expected: dict[str, Any]
    figure: np.ndarray


@dataclass
class Tally:
    """What became of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    samples: list[tuple[float, float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: str, seconds: float) -> None:
        """Count one."""
        with self.lock:
            self.outcomes[outcome] += 1
            self.seconds.append(seconds)


def main(
    clients: int = 16,
    seconds: float = 300.0,
    models: tuple[str, ...] = ("four",),
    runs: Path = RUNS,
    port: int = 0,
) -> None:
    """Send, compare and print.

    Args:
        clients: How many send requests at once.
        seconds: For how long.
        models: Models to use, as the app's list has them, such as "four" or "run: demo".
        runs: Folder of all runs.
        port: Port for the app; 0 for any that is free.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = synthesize(
            folder / "corpus", subjects=SUBJECTS, clips=CLIPS, frames=FRAMES, seed=SEED
        )
        requests = right_answers(corpus.raw, corpus.truth, models, runs)
        uploads = folder / "of-the-app"
        with running_app(runs, port, uploads) as (address, process):
            tally = ask_all(address, requests, clients, seconds, process, uploads, folder)
        left = len(list(uploads.rglob("*")))
    describe(tally, seconds, clients)
    print(f"files and folders that the app has left: {left}")
    if set(tally.outcomes) != {"right"}:
        sys.exit("error: not every answer was right")


def right_answers(raw: Path, truth: Path, models: tuple[str, ...], runs: Path) -> list[Request]:
    """Return the requests with their answers, which this process finds by itself."""
    table = pd.read_csv(truth, dtype=str)
    requests = []
    with AppAnswers(runs, most_frames=FRAMES) as answers:
        for i, (model, row) in enumerate((m, r) for m in models for _, r in table.iterrows()):
            folder = raw / row["subject"] / row["clip"]
            if i % CLIP_EVERY == 0:
                files = sorted(folder.glob("img*.jpg"))
                found, figure = answers.clip(model, files, fps=FPS)
                numbers = (str(FPS), "", "")
                handles = [handle_file(file) for file in files]
                arguments: tuple[Any, ...] = (model, handles, *numbers, "flow", False)
            else:
                pair = [folder / f"img{row[which]}.jpg" for which in ("onset", "apex")]
                found, figure = answers.pair(model, *pair)
                arguments = (model, *(handle_file(file) for file in pair), False)
            name = "clip" if i % CLIP_EVERY == 0 else "pair"
            expected = {"answers": [answer.to_json() for answer in found]}
            requests.append(Request(name, arguments, expected, np.asarray(figure)))
    return requests


@contextmanager
def running_app(runs: Path, port: int, temporary: Path) -> Iterator[tuple[str, int]]:
    """Start the app in a process of its own; yield its address and its id."""
    temporary.mkdir()
    script = Path(__file__).parents[1] / "app.py"
    options = ["--runs", str(runs), "--port", str(port)]
    options += ["--keep-minutes", str(KEEP_MINUTES)]
    process = subprocess.Popen(
        [sys.executable, str(script), *options],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith("http"):
            sys.exit("error: the app did not start")
        yield line.split()[0], process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask_all(
    address: str,
    requests: list[Request],
    clients: int,
    seconds: float,
    process: int,
    uploads: Path,
    folder: Path,
) -> Tally:
    """Let all clients send requests until the time is up, and each finish its last one."""
    tally = Tally()
    began = time.monotonic()

    def run_client(number: int) -> None:
        downloads = str(folder / f"client-{number}")
        try:
            client = Client(
                address, verbose=False, analytics_enabled=False, download_files=downloads
            )
        except Exception as error:  # a client that never connects has lost its answers too
            tally.add(lost(error), time.monotonic() - began)
            return
        position = number
        while time.monotonic() - began < seconds:
            request = requests[position % len(requests)]
            position += 1
            sent = time.monotonic()
            outcome = compare(client, request)
            tally.add(outcome, time.monotonic() - sent)

    threads = [threading.Thread(target=run_client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tally.samples.append((time.monotonic() - began, resident(process), stored(uploads)))
        time.sleep(SAMPLE_SECONDS)
    return tally


def compare(client: Client, request: Request) -> str:
    """Send a request, and return what became of it."""
    try:
        _, figure, received = client.predict(*request.arguments, api_name=f"/{request.name}")
        if "error" in received:
            return f"lost: {received['error']}"[:200]
        path = Path(figure["path"] if isinstance(figure, dict) else figure)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        path.unlink()
    except Exception as error:  # whatever happens to a client is to be counted
        return lost(error)
    if not equal(received, request.expected):
        return "wrong answer"
    return "right" if np.array_equal(pixels, request.figure) else "wrong figure"


def lost(error: Exception) -> str:
    """Return the outcome of a request that an error came back for."""
    return f"lost: {type(error).__name__}: {error}"[:200]


def equal(one: Any, other: Any) -> bool:
    """Compare what was read from JSON, numbers within a tolerance."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE
    return one == other


def stored(folder: Path) -> float:
    """Return the size of the files in a folder, MB, while others make and delete some."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(parent, name).stat().st_size
    return size / 1e6


def resident(process: int) -> float:
    """Return the memory of a process, MB."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1e3


def describe(tally: Tally, seconds: float, clients: int) -> None:
    """Print what came out."""
    requests = sum(tally.outcomes.values())
    print(f"{clients} clients for {seconds:.0f} s: {requests} requests")
    for outcome, count in tally.outcomes.most_common():
        print(f"  {count:6d}  {outcome}")
    took = np.quantile(tally.seconds, [0.5, 0.95, 1])
    print(f"throughput {requests / tally.samples[-1][0]:.2f} answers a second")
    print("time to an answer: median {:.1f} s, 95% within {:.1f} s, longest {:.1f} s".format(*took))
    table = pd.DataFrame(tally.samples, columns=["s", "memory_MB", "uploads_MB"])
    parts = table.groupby((table["s"] // 30 * 30).astype(int))[["memory_MB", "uploads_MB"]].mean()
    print(parts.round(0).astype(int).to_string())


if __name__ == "__main__":
    tyro.cli(main)
