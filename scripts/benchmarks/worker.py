"""How `scripts/benchmarks/benchmark.py` and the two sides that it measures talk to each other.

Each side is a process of its own, which keeps its models and waits while the other is measured. A
task is a line with its name and arguments; the answer is a line of JSON, with arrays in a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Answer:
    """What a task gave.

    Attributes:
        seconds: Time that it took, a unit of its work.
        value: A figure: a size, an accuracy, a mean.
        answer: What was computed, to be compared with the other side's.
        parts: Seconds of its parts by name, where the task is to time them.
    """

    seconds: float
    value: float | None = None
    answer: np.ndarray | None = None
    parts: dict[str, float] | None = None


def in_parts(parts: dict[str, float]) -> Answer:
    """Answer with the seconds of a task's parts."""
    return Answer(sum(parts.values()), parts=parts)


def time_call(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def serve(make_side: Callable[[Path], Any]) -> None:
    """Answer tasks from the standard input until it ends.

    Args:
        make_side: Makes the object whose methods are the tasks, given the benchmark's folder.
    """
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes elsewhere
    side = make_side(Path(sys.argv[1]))
    file = Path(sys.argv[1]) / f"answer-{os.getpid()}.npy"
    for line in sys.stdin:
        task, *arguments = line.split()
        done = getattr(side, task)(*arguments)
        if done.answer is not None:
            np.save(file, done.answer)
        message = {"seconds": done.seconds, "value": done.value, "parts": done.parts}
        message["answer"] = None if done.answer is None else str(file)
        print(json.dumps(message), file=channel)
    file.unlink(missing_ok=True)


class Worker:
    """A side in a process of its own.

    Args:
        python: The interpreter.
        script: A script that calls `serve`.
        folder: The benchmark's folder.
        environment: Variables to set for it.
    """

    def __init__(
        self, python: Path, script: Path, folder: Path, environment: dict[str, str] | None = None
    ) -> None:
        self._name = script.name
        self._log = folder / f"{script.stem}-{len(environment or {})}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), str(script), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | (environment or {}),
            )

    def __call__(self, task: str) -> Answer:
        """Have a task done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
            raise SystemExit(f"{self._name} ended in {task}; the end of {self._log}:\n{tail}")
        message = json.loads(line)
        answer = None if message["answer"] is None else np.load(message["answer"])
        return Answer(message["seconds"], message["value"], answer, message["parts"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
