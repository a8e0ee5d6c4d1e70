"""A run's model card: what the model is, what it was measured on, and what it is not for."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from casme_tf import formatting
from casme_tf.datasets.databases import DATABASES
from casme_tf.errors import UserError
from casme_tf.files import atomic_file
from casme_tf.models import ARCHITECTURES
from casme_tf.runs import CONFIG, HISTORY, METRICS, MODEL_CARD, PARITY, RUNS, RunRecord, read_split
from casme_tf.training.settings import TrainConfig

_TEMPLATES = Path(__file__).parent
_TEMPLATE = "model_card.md.jinja"


def write_model_card(run: Path) -> Path:
    """Write model_card.md into a run's folder."""
    with atomic_file(run / MODEL_CARD) as temporary:
        temporary.write_text(render_model_card(run), encoding="utf-8")
    return run / MODEL_CARD


def refresh_model_card(run: Path) -> None:
    """Write the card again if the run has one, with the newest figures."""
    if (run / MODEL_CARD).exists():
        write_model_card(run)


def render_model_card(run: Path) -> str:
    """Write the card of a run from what lies in its folder."""
    record = RunRecord.load(run / CONFIG)
    try:
        environment = formatting.templates(_TEMPLATES, html=False)
        environment.filters["cell"] = _cell
        text = environment.get_template(_TEMPLATE).render(_facts(run, record))
    except (jinja2.UndefinedError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"The records of a run must be those that this version writes. Received: {run}, where "
            f"{type(error).__name__}: {error}. Train, evaluate and export the run again."
        ) from error
    return re.sub(r"\n{3,}", "\n\n", text)


def _facts(run: Path, record: RunRecord) -> dict[str, Any]:
    metrics, parity = _read_json(run / METRICS), _read_json(run / PARITY)
    split = record.split
    parts = split["parts"]
    subjects = {name: set(part["subjects"]) for name, part in parts.items()}
    return {
        "name": run.name,
        "record": record,
        "train": record.train,
        "classes": record.classes,
        "architecture": _architecture(record.train),
        "backbone": _backbone(str(record.train.get("weights", "none"))),
        "corpus": split["corpus"],
        "databases": [DATABASES[name] for name in record.databases],
        "data_dir": "TFDS's default folder"
        if record.data_dir is None
        else _shown(str(record.data_dir)),
        "parts": parts,
        "protocol": split["protocol"],
        "leak": split["leak"],
        "shared": len(subjects.get("train", set()) & subjects.get("test", set())),
        "epochs": _epochs(run, record),
        "metrics": metrics,
        "figures": formatting.FIGURE_NAMES,
        "parity": parity,
        "commands": _commands(run, record),
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the record in a file, or None if there is no such file."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be a run's record. Received: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must be a run's record. Received: {type(content).__name__}.")
    return content


def _architecture(train: dict[str, Any]) -> str:
    """Say what an architecture is."""
    known = ARCHITECTURES.get(train["arch"])
    about = known.about if known else f"The architecture {train['arch']!r}."
    backbone = train.get("backbone")
    return f"{about} The ResNet50 is {backbone}." if backbone else about


def _backbone(weights: str) -> str:
    known = {
        "imagenet": "ImageNet weights",
        "drawn": "weights learned from drawn motion",
        "none": "random weights",
    }
    return known.get(weights) or f"the weights file {Path(weights).name}"


def _epochs(run: Path, record: RunRecord) -> dict[str, Any] | None:
    """Return how many epochs were trained, which was kept and whose loss chose it; None if none."""
    if "epochs" not in record.train:
        return None
    path = run / HISTORY
    if not path.is_file():
        raise UserError(
            f"A run must have the file {HISTORY}. Received: {run}. Train the run again."
        )
    history = pd.read_csv(path)
    found: dict[str, Any] = {"count": len(history), "kept": len(history), "chosen_on": None}
    if "val_loss" in history:
        losses = history["val_loss"]
        found["kept"] = int(losses.argmin()) + 1 if losses.notna().any() else formatting.ABSENT
        # Validation clips that are test clips too are listed as test clips.
        listed = set(read_split(run)["part"])
        found["chosen_on"] = "validation" if "validation" in listed else "test"
    return found


def _commands(run: Path, record: RunRecord) -> dict[str, str]:
    """Return the commands that make the run again, with what differs from the defaults."""
    given = {**record.train, "run": run.name}
    words = []
    for field in fields(TrainConfig):
        value = given.get(field.name)
        default = None if field.default is MISSING else field.default
        if isinstance(value, list | tuple):
            value, default = " ".join(map(str, value)), " ".join(map(str, default or ()))
        if field.name == "overwrite" or value is None or str(value) == str(default):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(
                f"--{flag} {value if field.name == 'data' else _quoted(_shown(str(value)))}"
            )
    which = f"--run {_quoted(run.name)}"
    runs = str(given.get("runs", RUNS))
    if runs != str(RUNS):
        which += f" --runs {_quoted(_shown(runs))}"
    return {
        "train": " \\\n    ".join(["casme-tf train", *words]),
        "evaluate": f"casme-tf evaluate {which}",
        "export": f"casme-tf export {which}",
    }


def _shown(path: str) -> str:
    """Write a path with the home folder, which holds a user's name, as "~"."""
    home = Path.home()
    return (
        str(Path("~") / Path(path).relative_to(home)) if Path(path).is_relative_to(home) else path
    )


def _quoted(word: str) -> str:
    """Quote for a shell, which must still see the tilde of a home folder."""
    return "~/" + shlex.quote(word[2:]) if word.startswith("~/") else shlex.quote(word)


def _cell(text: str) -> str:
    """Keep a bar in a name from ending its cell of a table."""
    return str(text).replace("|", "\\|")
