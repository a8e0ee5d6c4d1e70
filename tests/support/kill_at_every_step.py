"""Kill a preparation at each of its file operations, look at what is left, and let it go on.

A program of its own: it forks, which a process that has loaded TensorFlow must not. It gets the
folder of `test_kill_at_every_step_leaves_no_broken_clip` and prints the number of steps.
"""

import csv
import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path

from casme_tf.clips.frames import read_rgb
from casme_tf.datasets.prepare import prepare_dataset

FOLDER = Path(sys.argv[1])
OPERATIONS = ("mkdir", "rename", "replace", "unlink", "rmdir", "write_bytes", "open", "chmod")


def prepare(out: Path) -> None:
    prepare_dataset(FOLDER / "raw", FOLDER / "coding.csv", out, workers=1)


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def run_and_die(out: Path, step: int) -> bool:
    """Run in a fork that dies before file operation `step`; return whether it got that far."""
    pid = os.fork()
    if pid == 0:
        left = step

        def dying(operation):
            def wrapped(*args, **kwargs):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return operation(*args, **kwargs)

            return wrapped

        for name in OPERATIONS:
            setattr(Path, name, dying(getattr(Path, name)))
        prepare(out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def check(out: Path) -> None:
    """Every folder must hold two whole frames, and a manifest must be true."""
    for clip in out.glob("sub*/ROI_*"):
        if {path.name for path in clip.iterdir()} == {"onset_frame.jpg", "apex_frame.jpg"}:
            read_rgb(clip / "onset_frame.jpg")
            read_rgb(clip / "apex_frame.jpg")
        else:  # only what is being removed may be incomplete, and no manifest lists it
            assert clip.name == "ROI_EP02_01f", clip
            assert not (out / "manifest.csv").exists()
    if (out / "manifest.csv").exists():
        with (out / "manifest.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                clip = out / row["subject"] / f"ROI_{row['clip']}"
                digest = hashlib.sha256()
                for name in ("onset_frame.jpg", "apex_frame.jpg"):
                    digest.update(hashlib.sha256((clip / name).read_bytes()).digest())
                assert digest.hexdigest()[:16] == row["frames_digest"], row


reference = FOLDER / "reference"
shutil.copytree(FOLDER / "prepared", reference)
prepare(reference)
expected = contents(reference)

step = 1
while True:
    out = FOLDER / f"killed_{step}"
    shutil.copytree(FOLDER / "prepared", out)
    killed = run_and_die(out, step)
    check(out)
    prepare(out)
    assert contents(out) == expected, (step, sorted(contents(out)), sorted(expected))
    assert not list(out.rglob(".*"))
    if not killed:
        break
    step += 1
print(step - 1)
