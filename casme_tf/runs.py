"""A run: one folder that holds how a model was made, the model, and what it scored."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casme_tf import __version__
from casme_tf.errors import UserError, command
from casme_tf.files import atomic_file, explain_write_errors, locked

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunRecord", "resumable_run"]

RUNS = Path("saved_models")
"""Where runs are kept, seen from the working directory."""
CONFIG = "config.json"
LABELS = "labels.txt"
SPLIT = "split.csv"
HISTORY = "history.csv"
HISTORIES = "histories.csv"
"""Of all folds of a cross-validation."""
MODEL = "model.keras"
FOLDS = "folds.csv"
"""Which clip was in which part of which fold; only a cross-validation has it."""
PREDICTIONS = "predictions.csv"
METRICS = "metrics.json"
SAVED_MODEL = "saved_model/1"
NUMBER_FORMATS = ("float32", "float16", "dynamic", "int8")
"""Of the network in a TFLite file: weights and arithmetic in float32; weights stored as float16;
weights stored as int8; weights and arithmetic in int8."""
ARTIFACTS = (SAVED_MODEL, *(f"model_{form}.tflite" for form in NUMBER_FORMATS))
"""What an export writes."""
PARITY = "parity.json"
MODEL_CARD = "model_card.md"


@dataclass(frozen=True)
class RunRecord:
    """What `config.json` of a run holds: how to make the run again.

    Attributes:
        train: The command's configuration, with every default filled in.
        classes: Class names, in the order of the network's output.
        split: Protocol, number of clips and subjects of each part, and what leaks if anything.
        versions: Versions of this package and of what the figures depend on.
    """

    train: dict[str, Any]
    classes: list[str]
    split: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path | None:
        """Folder of the built data set that the run was trained on; None for TFDS's default."""
        given = self.train["data_dir"]
        return None if given is None else Path(given)

    @property
    def databases(self) -> tuple[str, ...]:
        """Databases that the run was trained on."""
        return tuple(self.train.get("data", ("casme2",)))

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2, default=str) + "\n")

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Read a record."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise UserError(
                f"A run must have been trained. Received: {path.parent}, which has no "
                f"{path.name}. Train it with: "
                + command(
                    *("casme-tf", "train", "--arch", "flow", "--run", path.parent.name),
                    *("--runs", path.parent.parent),
                )
            ) from None
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} must be a run's record. Received: {error}.") from None
        except OSError as error:
            raise UserError(
                f"A run's record must be readable. Received: {path}, {error.strerror or error}."
            ) from None


_ELSEWHERE = ("run", "runs", "data_dir", "motion_images", "overwrite")
"""Settings that decide no figure."""


def differing(folder: Path, record: RunRecord) -> list[str]:
    """Return the settings, or `data` and `versions`, in which a folder's record differs."""
    try:
        found = asdict(RunRecord.load(folder / CONFIG))
    except UserError:
        return [CONFIG]
    wanted = json.loads(json.dumps(asdict(record), default=str))
    names = sorted({*wanted["train"], *found["train"]} - set(_ELSEWHERE))
    names = [n for n in names if found["train"].get(n) != wanted["train"].get(n)]
    names += ["data"] if found["split"].get("data") != wanted["split"].get("data") else []
    return names + (["versions"] if found["versions"] != wanted["versions"] else [])


def finished(folder: Path, record: RunRecord, *, overwrite: bool) -> bool:
    """Return whether a run exists with the same record, so that nothing is left to do."""
    work = _work_folder(folder)
    if overwrite:
        return False
    if folder.exists():
        if names := differing(folder, record):
            raise UserError(
                f"A run must not exist yet, or have the same settings. Received: {folder}, which "
                f"differs in {', '.join(names)}. Choose another name with --run, or pass "
                "--overwrite."
            )
        return True
    if (work / CONFIG).is_file() and (names := differing(work, record)):
        raise UserError(
            f"An interrupted command for {folder.name} has other settings ({', '.join(names)}). "
            "Repeat that command to continue it, or pass --overwrite to start again."
        )
    return False


@contextmanager
def resumable_run(folder: Path, record: RunRecord, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield the folder in which a run is made; rename it to `folder` if the block succeeds.

    What an interrupted command with the same record left there is kept, to continue from. Another
    command on the same run is refused while the block runs.

    Args:
        folder: The run's folder.
        record: Written to `config.json` of the run.
        overwrite: Replace the run, and discard an interrupted command with another record.

    Yields:
        The working folder, next to `folder`.

    Raises:
        UserError: If the run exists or was begun with other settings, another command is making
            it, or it cannot be written.
    """
    with locked(folder):
        if finished(folder, record, overwrite=overwrite):
            raise UserError(f"{folder} must not exist yet. Pass --overwrite to replace it.")
        with working_folder(folder, record) as work:
            yield work
            replaced = folder.with_name(f".{folder.name}.replaced")
            shutil.rmtree(replaced, ignore_errors=True)
            for path in work.glob(".*.tmp*"):
                path.unlink()  # what a killed process was writing
            if folder.exists():
                folder.rename(replaced)
            work.rename(folder)
            shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def working_folder(folder: Path, record: RunRecord, *, purpose: str = "work") -> Iterator[Path]:
    """Yield a folder next to a run in which a command works, kept if it is interrupted.

    What an interrupted command of this purpose with the same record left there is kept; anything
    else is deleted. The caller holds the run's lock.
    """
    work = _work_folder(folder, purpose)
    with explain_write_errors(work):
        if work.exists() and differing(work, record):
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        record.save(work / CONFIG)
        yield work


def _work_folder(folder: Path, purpose: str = "work") -> Path:
    return folder.with_name(f".{folder.name}.{purpose}")


def run_folder(runs: Path, name: str) -> Path:
    """Return the folder of a run."""
    if not name or Path(name).name != name or name.startswith("."):
        raise UserError(f"A run's name must be a plain folder name. Received: {name!r}.")
    return runs / name


def model_file(run: Path) -> Path:
    """Return a run's Keras model."""
    path = run / MODEL
    if path.is_file():
        return path
    if (run / FOLDS).is_file():
        raise UserError(
            f"A run must have {MODEL}. Received: {run}, a cross-validation, which keeps the "
            "answers of its models and none of them. Train a model to use with: "
            + command("casme-tf", "train", "--arch", "flow", "--runs", run.parent)
        )
    raise UserError(f"A run must have {MODEL}. Received: {run}. Train the run again.")


def tflite_name(form: str) -> str:
    """Return the name of the TFLite file whose network is in that number format."""
    return f"model_{form}.tflite"


def versions() -> dict[str, str]:
    """Return the versions that figures depend on."""
    packages = ["tensorflow", "keras", "opencv-contrib-python", "mediapipe", "numpy"]
    packages.append("scikit-learn")
    return {
        "casme_tf": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def read_split(run: Path) -> pd.DataFrame:
    """Read which clip was in which part: columns subject, clip, part."""
    path = run / SPLIT
    if not path.is_file():
        raise UserError(f"A run must have the file {SPLIT}. Received: {run}. Train the run again.")
    import pandas as pd

    return pd.read_csv(path, dtype=str)
