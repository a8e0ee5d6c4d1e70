"""What a cross-validation is going to do: its clips, its folds, and one run an architecture."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf.datasets.pairs import SchemeClips
from casme_tf.datasets.splits import PROTOCOLS, Split
from casme_tf.errors import UserError
from casme_tf.evaluation.cross_validated_models import CROSS_VALIDATED, CrossValidated, FoldRecipe
from casme_tf.evaluation.leaks import PUBLISHED, guard_folds, require_unseen
from casme_tf.evaluation.settings import BASELINES, CrossvalConfig
from casme_tf.models.baselines import require_drawn
from casme_tf.runs import CONFIG, RunRecord, run_folder, versions

WHY_RANDOM_SCORES_HIGHER = (
    "a model that recognises people answers these clips from their other clips, so that it scores "
    "higher than on people whom it has never seen"
)
_COMMON = ("protocol", "scheme", "frame_size", "seed")
_ELSEWHERE = ("run", "runs", "data_dir")  # where things lie, which decides no figure


@dataclass(frozen=True, eq=False)
class Plan:
    """What one architecture's run is made of.

    Attributes:
        entry: The architecture.
        folder: The run's folder.
        splits: The folds.
        recipe: How networks are trained; None for what has no epochs.
        record: Content of config.json.
    """

    entry: CrossValidated
    folder: Path
    splits: list[Split]
    recipe: FoldRecipe | None
    record: RunRecord

    @property
    def work(self) -> Path:
        """Folder beside the run's, for what is finished before all is."""
        return self.folder.with_name(f".{self.folder.name}.crossval")

    @property
    def weights(self) -> str | None:
        """What networks begin with; None for what has no such weights."""
        return self.record.train.get("weights")

    @property
    def leak(self) -> str | None:
        """Why figures are too good, or None."""
        return self.record.split["leak"]

    @property
    def epoch_chosen_on(self) -> str | None:
        """Whose loss chose the epoch; None if their number was fixed beforehand."""
        if not any(len(split.validation) for split in self.splits):
            return None
        same = any(np.intersect1d(s.validation, s.test).size for s in self.splits)
        return "the test clips" if same else "validation subjects"

    def parts(self, clips: SchemeClips) -> pd.DataFrame:
        """Return which clip is in which part of which fold: fold, subject, clip, part."""
        count = len(clips.labels)
        table = {"subject": clips.subjects, "clip": clips.names}
        return pd.concat(
            [pd.DataFrame({"fold": s.name, **table, "part": s.parts(count)}) for s in self.splits],
            ignore_index=True,
        )


def check_settings(config: CrossvalConfig) -> None:
    """Refuse settings that cannot be.

    Raises:
        UserError: If a number is out of range, or no architecture is given.
    """
    if not config.arch:
        known = ", ".join(CROSS_VALIDATED)
        raise UserError(f"--arch must name one or more of {known}. Received: none.")
    for name, value, low, high in (
        ("folds", config.folds, 2, math.inf),
        ("workers", config.workers, 1, math.inf),
        ("frame-size", config.frame_size, 64, 512),
        ("network-size", config.network_size, 32, 512),
        ("epochs", config.epochs, 1, math.inf),
        ("batch-size", config.batch_size, 1, math.inf),
        ("learning-rate", config.learning_rate, 1e-12, 10),
        ("dropout", config.dropout, 0, 0.95),
        ("seed", config.seed, 0, 2**31 - 1),
        ("resamples", config.resamples, 1, math.inf),
    ):
        if value is not None and not low <= value <= high:
            most = f"from {low} to {high}" if high < math.inf else f"at least {low}"
            raise UserError(f"--{name} must be {most}. Received: {value}.")


def run_folders(config: CrossvalConfig) -> dict[str, Path]:
    """Return the folder of the run of each baseline and each architecture asked for.

    Raises:
        UserError: If a name is no folder's name.
    """
    asked = list(dict.fromkeys(config.arch))
    baselines = BASELINES if config.baselines else BASELINES[:1]
    folders: dict[str, Path] = {}
    for arch in dict.fromkeys([*baselines, *asked]):
        name = f"{arch}-{config.protocol}-{config.scheme}"
        if config.run is not None:
            name = config.run if asked == [arch] else f"{config.run}-{arch}"
        folders[arch] = run_folder(config.runs, name)
    return folders


def plan_runs(config: CrossvalConfig, clips: SchemeClips) -> list[Plan]:
    """Plan a run for each architecture, and refuse what would leak.

    Args:
        config: What to cross-validate.
        clips: The clips.

    Returns:
        The plans, baselines first.

    Raises:
        LeakError: If something of a test clip would reach the training side.
        UserError: If the clips are too few for the protocol, or there are no such weights.
    """
    return [_plan(arch, folder, config, clips) for arch, folder in run_folders(config).items()]


def unfinished(plans: list[Plan], *, overwrite: bool) -> list[Plan]:
    """Return the plans whose runs are still to be made.

    A run that exists with the same settings, clips and versions was made by an earlier call of the
    same command, and is kept. What was begun with other settings is in the way.

    Raises:
        UserError: If a run exists or was begun with other settings, and is not to be replaced.
    """
    missing = [plan for plan in plans if overwrite or not plan.folder.exists()]
    for plan in plans:
        if plan not in missing and (differing := _differing(plan.folder, plan.record)):
            raise UserError(
                f"A run must not exist yet, or be of the same cross-validation. Received: "
                f"{plan.folder}, which differs in {', '.join(differing)}. Choose another name with "
                "--run, or pass --overwrite."
            )
    for plan in plans:
        if plan not in missing and not _differing(plan.work, plan.record):
            shutil.rmtree(plan.work)  # the run was published, and what it was made of left behind
    for plan in missing:
        if not plan.work.exists():
            continue
        differing = _differing(plan.work, plan.record)
        if differing and not overwrite and (plan.work / CONFIG).is_file():
            raise UserError(
                f"An interrupted cross-validation of {plan.folder.name} has other settings "
                f"({', '.join(differing)}). Repeat its command to go on with it, or pass "
                "--overwrite to begin anew."
            )
        if differing:
            shutil.rmtree(plan.work)
    return missing


def _plan(arch: str, folder: Path, config: CrossvalConfig, clips: SchemeClips) -> Plan:
    entry = CROSS_VALIDATED[arch]
    recipe = _recipe(entry, config)
    options = {"k": config.folds} if config.protocol == "kfold" else {}
    splits = PROTOCOLS[config.protocol](
        clips.subjects,
        clips.labels,
        seed=config.seed,
        validation=config.choose_epoch and recipe is not None,
        **options,
    )
    guard_folds(splits, clips.subjects, clips=clips.names, frames=clips.frames)
    weights = config.weights or entry.weights
    if weights is not None and entry.weights is not None:
        _require_weights(entry, weights)
        if recipe is None:  # it learns nothing
            require_drawn(len(clips.classes), weights)
        tested = np.concatenate([split.test_subjects for split in splits])
        require_unseen(weights, tested, clips.corpus)
    leak = splits[0].leak and f"{splits[0].leak}; {WHY_RANDOM_SCORES_HIGHER}"
    counts = np.bincount(clips.labels, minlength=len(clips.classes)).tolist()
    about = {
        "corpus": clips.corpus,
        "coding_sheet": clips.coding_sheet,
        "protocol": config.protocol,
        "leak": leak,
        "folds": len(splits),
        "clips": len(clips.labels),
        "subjects": sorted(set(clips.subjects.tolist())),
        "classes": dict(zip(clips.classes, counts, strict=True)),
        "data": clips.digest(),
    }
    record = RunRecord(
        _settings(entry, folder, recipe, config),
        list(clips.classes),
        about,
        versions() | {"scikit-learn": version("scikit-learn")},
    )
    return Plan(entry, folder, splits, recipe, record)


def _recipe(entry: CrossValidated, config: CrossvalConfig) -> FoldRecipe | None:
    if entry.recipe is None:
        return None
    default = entry.recipe
    if config.weights == "none" and entry.untrained_recipe is not None:
        default = entry.untrained_recipe
    if config.choose_epoch:
        default = replace(default, epochs=2 * default.epochs)
    given = {field.name: getattr(config, field.name) for field in fields(FoldRecipe)}
    return replace(default, **{name: x for name, x in given.items() if x is not None})


def _require_weights(entry: CrossValidated, weights: str) -> None:
    known = {entry.weights, "none"}
    if weights not in known and (weights in PUBLISHED or not Path(weights).is_file()):
        raise UserError(
            f"Weights of {entry.name} must be '{entry.weights}', 'none' or the path of a weights "
            f"file. Received: {weights}"
            + ("." if weights in PUBLISHED else ", which does not exist.")
        )


def _settings(
    entry: CrossValidated, folder: Path, recipe: FoldRecipe | None, config: CrossvalConfig
) -> dict[str, Any]:
    """Return what decides an architecture's result, with every default filled in."""
    given = asdict(config)
    given["network_size"] = config.network_size or config.frame_size
    given["weights"] = config.weights or entry.weights
    data_dir = config.data_dir and config.data_dir.expanduser().resolve()
    names = [*_COMMON, *entry.settings]
    names += ["folds"] if config.protocol == "kfold" else []
    names += ["mirror"] if entry.mirror else []
    names += ["choose_epoch"] if recipe else []
    names += ["weights"] if entry.weights else []
    where = {"run": folder.name, "runs": config.runs, "data_dir": data_dir}
    settings = {name: given[name] for name in names} | (asdict(recipe) if recipe else {})
    return {"arch": entry.name, **where, **settings}


def _differing(folder: Path, record: RunRecord) -> list[str]:
    """Name the settings, or `data` and `versions`, that a run's record has otherwise."""
    try:
        found = asdict(RunRecord.load(folder / CONFIG))
    except UserError:
        return [CONFIG]
    wanted = json.loads(json.dumps(asdict(record), default=str))
    names = [n for n in wanted["train"] if n not in _ELSEWHERE]
    differing = [n for n in names if found["train"].get(n) != wanted["train"][n]]
    differing += ["data"] if found["split"].get("data") != wanted["split"]["data"] else []
    differing += ["versions"] if found["versions"] != wanted["versions"] else []
    return differing
