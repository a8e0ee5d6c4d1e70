"""From nothing to an answer: `casme-tf predict` as a whole process, against importing TensorFlow.

    python scripts/benchmarks/startup.py

It draws a clip of 17 frames, and runs a prediction for its onset and apex, one for the whole clip,
and `import tensorflow` in turns, each in a process of its own. It prints processor time (user and
system) as a share of the import's, the lowest and the highest of all rounds, and the peak memory.
"""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

IMPORT = "import tensorflow"
AIMS = {"predict, a pair": 0.3, "predict, a clip of 17 frames": 0.6}
"""Share of the import's processor time that is aimed at."""


@dataclass(frozen=True)
class Arguments:
    """What to time."""

    rounds: int = 5
    """How often each process is timed; one round before is not counted."""


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command; return its processor time, s, and its peak memory, MB."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} exited with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def commands(folder: Path) -> dict[str, list[str]]:
    """Draw a clip, and return the command of each row."""
    program = str(Path(sys.executable).with_name("casme-tf"))
    # In a process of its own: what this one holds would count as the memory of those it starts.
    drawn = ["--subjects", "1", "--clips", "1", "--frames", "17", "--seed", "5"]
    subprocess.run(
        [program, "synthesize", "--out", str(folder / "drawn"), *drawn],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with (folder / "drawn" / "truth.csv").open(newline="") as file:
        (truth,) = csv.DictReader(file)
    clip = folder / "drawn" / "CASME2-RAW" / truth["subject"] / truth["clip"]
    onset, apex = (str(clip / f"img{truth[name]}.jpg") for name in ("onset", "apex"))
    pair, whole = AIMS
    return {
        pair: [program, "predict", "--onset", onset, "--apex", apex],
        whole: [program, "predict", "--clip", str(clip), "--fps", "200"],
        IMPORT: [sys.executable, "-c", IMPORT],
    }


def main(arguments: Arguments) -> None:
    """Time all in turns and print the table."""
    times: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = commands(Path(folder))
        for number in range(arguments.rounds + 1):
            for name, command in rows.items():
                seconds, megabytes = measure(command)
                if number:  # the first fills the caches
                    times.setdefault(name, []).append(seconds)
                    peaks[name] = max(peaks.get(name, 0), megabytes)
    print(f"{processor()}, {os.cpu_count()} cores")
    print(f"{'process':32}{'processor time':>16}{'share':>8}{'spread':>14}{'aim':>6}{'MB':>7}")
    for name, found in times.items():
        shares = [own / other for own, other in zip(found, times[IMPORT], strict=True)]
        aim = f"{AIMS[name]:.1f}" if name in AIMS else ""
        spread = f"{min(shares):.2f} … {max(shares):.2f}"
        print(
            f"{name:32}{median(found):>14.2f} s{median(shares):>8.2f}{spread:>14}{aim:>6}"
            f"{peaks[name]:>7.0f}"
        )


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
    widest = next((flag for flag in ("avx512f", "avx2") if flag in flags), "no AVX2")
    return f"{name} ({widest})"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
