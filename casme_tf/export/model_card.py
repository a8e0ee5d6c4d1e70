"""A run's model card: what the model is, what it was measured on, and what it is not for."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
import textwrap
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from casme_tf import formatting
from casme_tf.errors import UserError
from casme_tf.files import atomic_file
from casme_tf.formatting import FEWEST_SUBJECTS
from casme_tf.models import ARCHITECTURES
from casme_tf.runs import CONFIG, HISTORY, METRICS, MODEL_CARD, PARITY, RUNS, RunRecord, read_split
from casme_tf.training.settings import TrainConfig

_TEMPLATES = Path(__file__).parent
_TEMPLATE = "model_card.md.jinja"
_ABSENT = "–"
_WIDTH = 100
_PARTS = ("train", "validation", "test")
_FIGURES = {
    "accuracy": "accuracy",
    "weighted_f1": "weighted F1",
    "weighted_precision": "weighted precision",
    "uf1": "UF1",
    "uar": "UAR",
}


def write_model_card(run: Path) -> Path:
    """Write model_card.md into a run's folder.

    Raises:
        UserError: As `render_model_card`.
    """
    with atomic_file(run / MODEL_CARD) as temporary:
        temporary.write_text(render_model_card(run), encoding="utf-8")
    return run / MODEL_CARD


def refresh_model_card(run: Path) -> None:
    """Write the card anew if the run has one, so that it tells the newest figures."""
    if (run / MODEL_CARD).exists():
        write_model_card(run)


def render_model_card(run: Path) -> str:
    """Write the card of a run from what lies in its folder.

    Figures come from metrics.json and the comparison of artifacts from parity.json; where one is
    missing, the card says so and names the command.

    Args:
        run: Folder of a run; it must have config.json, split.csv and history.csv.

    Returns:
        The card, as Markdown that also reads as plain text.

    Raises:
        UserError: If the folder is no run, or a record in it is not one that this version writes.

    Example:
        >>> print(render_model_card(Path("saved_models/demo")))  # doctest: +SKIP

    Reference: Mitchell et al., "Model Cards for Model Reporting", 2019,
    https://doi.org/10.1145/3287560.3287596.
    """
    record = RunRecord.load(run / CONFIG)
    try:
        text = _environment().get_template(_TEMPLATE).render(_facts(run, record))
    except (jinja2.UndefinedError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"The records of a run must be those that this version writes. Received: {run}, where "
            f"{type(error).__name__}: {error}. Train, evaluate and export the run again."
        ) from error
    return tidy_markdown(text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        finalize=_require_value,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, not HTML
    )
    environment.globals["fewest_subjects"] = FEWEST_SUBJECTS
    environment.filters |= {
        "figure": _figure,
        "interval": _interval,
        "gain": _gain,
        "megabytes": _megabytes,
        "cell": _cell,
    }
    return environment


def _facts(run: Path, record: RunRecord) -> dict[str, Any]:
    metrics, parity = _read_json(run / METRICS), _read_json(run / PARITY)
    split = record.split
    parts = {name: split[name] for name in _PARTS if split.get(name, {}).get("clips")}
    people = {name: set(part["subjects"]) for name, part in parts.items()}
    return {
        "name": run.name,
        "record": record,
        "train": record.train,
        "classes": record.classes,
        "architecture": _architecture(record.train["arch"]),
        "backbone": _backbone(str(record.train["weights"])),
        "corpus": split.get("corpus", "unknown"),
        "data_dir": "TFDS's default folder"
        if record.data_dir is None
        else _shown(str(record.data_dir)),
        "parts": parts,
        "protocol": split["protocol"],
        "leak": split["leak"],
        "shared": len(people.get("train", set()) & people.get("test", set())),
        "epochs": _epochs(run, parts),
        "metrics": metrics,
        "figures": _FIGURES,
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


def _architecture(name: str) -> str:
    """Say what an architecture is, in the words of the module that builds it."""
    known = ARCHITECTURES.get(name)
    words = sys.modules[known.build.__module__].__doc__ if known else None
    return words.splitlines()[0] if words else f"The architecture {name!r}."


def _backbone(weights: str) -> str:
    known = {
        "imagenet": "ImageNet weights",
        "drawn": "weights learnt from drawn motion",
        "none": "random weights",
    }
    return known.get(weights) or f"the weights file {Path(weights).name}"


def _epochs(run: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Return how many epochs were trained, which was kept and whose loss chose it."""
    path = run / HISTORY
    if not path.is_file():
        raise UserError(
            f"A run must have the file {HISTORY}. Received: {run}. Train the run again."
        )
    history = pd.read_csv(path)
    found: dict[str, Any] = {"count": len(history), "kept": len(history), "chosen_on": None}
    if "validation" in parts:
        losses = history["val_loss"]
        found["kept"] = int(losses.argmin()) + 1 if losses.notna().any() else _ABSENT
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
        if field.name == "overwrite" or value is None or str(value) == str(default):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag} {_quoted(_shown(str(value)))}")
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
    """Write a path without the name of whoever owns the home folder that it lies in."""
    home = Path.home()
    return (
        str(Path("~") / Path(path).relative_to(home)) if Path(path).is_relative_to(home) else path
    )


def _quoted(word: str) -> str:
    """Quote for a shell, which must still see the tilde of a home folder."""
    return "~/" + shlex.quote(word[2:]) if word.startswith("~/") else shlex.quote(word)


def _require_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"a value to be printed is {value}")
    return value


def _figure(value: float | None, form: str = ".3f") -> str:
    """Format a number, or a dash where there is none to be had."""
    return _ABSENT if value is None or math.isnan(value) else format(value, form)


def _interval(bounds: list[float | None], form: str = ".3f") -> str:
    """Format an interval, or say why there is none."""
    if any(bound is None or math.isnan(bound) for bound in bounds):
        return formatting.NO_INTERVAL
    return " … ".join(format(bound, form) for bound in bounds)


def _gain(bounds: list[float | None]) -> str:
    """Say whether an interval of a difference leaves out that there is none."""
    low, high = bounds
    if low is not None and low > 0:
        return "yes"
    return "no, worse" if high is not None and high < 0 else "not shown"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _cell(text: str) -> str:
    """Keep a bar in a name from ending its cell of a table."""
    return str(text).replace("|", "\\|")


def tidy_markdown(text: str) -> str:
    """Align tables and wrap paragraphs, so that the card reads well without being rendered."""
    blocks: list[str] = []
    for i, section in enumerate(re.split(r"^(```.*?^```)$", text, flags=re.DOTALL | re.MULTILINE)):
        parts = [section] if i % 2 else re.split(r"\n{2,}", section.strip("\n"))
        blocks += [part if i % 2 else _tidy_block(part) for part in parts if part]
    return "\n\n".join(blocks) + "\n"


def _tidy_block(block: str) -> str:
    lines = block.split("\n")
    if lines[0].startswith("|"):
        return _align(lines)
    if lines[0].startswith("#"):
        return block
    starts = {"- ": "  ", "> ": "> "}
    items = re.split(r"\n(?=- )", block)
    wrapped = []
    for item in items:
        start = item[:2] if item[:2] in starts else ""
        words = " ".join(line.removeprefix("> ").strip() for line in item.split("\n"))
        wrapped.append(
            textwrap.fill(
                words.removeprefix(start),
                _WIDTH,
                initial_indent=start,
                subsequent_indent=starts.get(start, ""),
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join(wrapped)


def _align(lines: list[str]) -> str:
    """Pad the cells of a table, so that its columns stand below one another."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    columns = list(zip(*rows, strict=True))
    right = [column[1].endswith(":") for column in columns]
    widths = [max(map(len, column)) for column in columns]
    padded = []
    for number, row in enumerate(rows):
        cells = []
        for cell, width, to_right in zip(row, widths, right, strict=True):
            if number == 1:
                cells.append("-" * (width - 1) + ":" if to_right else "-" * width)
            else:
                cells.append(cell.rjust(width) if to_right else cell.ljust(width))
        padded.append(f"| {' | '.join(cells)} |")
    return "\n".join(padded)
