"""Fitting one model to use: the weights on some subjects, others kept for test."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from casme_tf import formatting
from casme_tf.arrays import rows_of
from casme_tf.datasets.pairs import SchemeClips, announce, load_pairs, select_clips
from casme_tf.datasets.splits import ALL, TRAININGS, Split
from casme_tf.errors import UserError
from casme_tf.files import atomic_file
from casme_tf.progress import progress
from casme_tf.runs import (
    HISTORY,
    LABELS,
    MODEL,
    SPLIT,
    RunRecord,
    finished,
    resumable_run,
    run_folder,
    versions,
)
from casme_tf.training.learners import clip_inputs, fold_seed, resolve, training_side
from casme_tf.training.settings import TrainConfig

__all__ = ["train"]

_STATE = "state.npz"


def train(config: TrainConfig) -> Path:
    """Train one model and keep it as a run.

    An interrupted training continues after its last finished epoch when the command is repeated.

    Args:
        config: What to train; see `TrainConfig`.

    Returns:
        The run's folder, with config.json, labels.txt, split.csv, history.csv and model.keras.

    Raises:
        UserError: If the data set is not built, the run exists with other settings, or the weights
            do not fit.
    """
    config.check()
    final = run_folder(config.runs, config.run or config.arch)
    pairs = load_pairs(config.data_dir, config.frame_size, config.data)
    clips = announce(select_clips(pairs, config.scheme))
    fitting = resolve(config.arch, config, len(clips.classes))
    if fitting.recipe is None:
        _refuse_epochs(config)
    split = _split(config, clips, choose_epoch=config.choose_epoch)
    record = RunRecord(
        fitting.record(config, final.name, split=config.split),
        list(clips.classes),
        describe_split(split, clips),
        versions(),
    )
    if finished(final, record, overwrite=config.overwrite):
        progress.write(f"{final.name}: kept, with the same settings", file=sys.stderr)
        return final
    inputs = clip_inputs(config, clips)
    arrays = fitting.inputs(inputs)
    learner: Any = fitting.learner()
    with resumable_run(final, record, overwrite=config.overwrite) as work:
        _write_tables(clips, split, work)
        for name, part in record.split["parts"].items():
            subjects = formatting.count(len(part["subjects"]), "subject")
            progress.write(f"{name}: {part['clips']} clips of {subjects}", file=sys.stderr)
        mirror = inputs.mirror(fitting.fit.inputs) if fitting.augments else None
        validation = None
        if len(split.validation):
            validation = rows_of(arrays, split.validation), clips.labels[split.validation]
        fit = partial(
            learner.fit,
            *training_side(arrays, clips.labels, split.train, mirror),
            validation=validation,
            seed=fold_seed(config.seed, split.name),
        )
        if fitting.recipe is None:
            fit()
        else:
            with progress(total=fitting.recipe.epochs, desc="training", unit="epoch") as bar:
                history = fit(state=work / _STATE, on_epoch=lambda _: bar.update())
            progress.write(_describe_history(history, split), file=sys.stderr)
            with atomic_file(work / HISTORY) as temporary:
                history.to_csv(temporary, index=False)
        with atomic_file(work / MODEL) as temporary:
            fitting.pair_model(learner, inputs).save(temporary)
        (work / _STATE).unlink(missing_ok=True)
    return final


def _refuse_epochs(config: TrainConfig) -> None:
    """Raise a `UserError` if an option is given that only what is fitted in epochs can follow."""
    names = ("epochs", "batch_size", "learning_rate", "dropout", "choose_epoch")
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(config, name) is not None and getattr(config, name) is not False
    ]
    if given:
        raise UserError(
            f"{config.arch} is fitted in closed form, without epochs. Received: "
            f"{', '.join(given)}. Leave it out."
        )


def describe_split(split: Split, clips: SchemeClips) -> dict[str, Any]:
    """Describe in numbers which clips a run has, and which of them are in which part."""
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        **clips.describe(),
        "protocol": split.protocol,
        "leak": split.leak,
        "parts": {
            name: {
                "clips": len(indices),
                "subjects": sorted(set(clips.subjects[indices].tolist())),
                "classes": clips.count(indices),
            }
            for name, indices in parts.items()
            if len(indices)
        },
    }


def _split(config: TrainConfig, clips: SchemeClips, *, choose_epoch: bool) -> Split:
    if len(set(clips.labels.tolist())) < 2:
        only = clips.classes[clips.labels[0]]
        raise UserError(
            "Training needs clips of at least 2 classes. Received: a data set with clips of "
            f"{only} only. Prepare clips of others, and build it again."
        )
    if config.split == ALL and choose_epoch:
        raise UserError(
            "--choose-epoch needs subjects that do not train. Received: --split all, which trains "
            "on every subject. Leave one of the two out."
        )
    return TRAININGS[config.split](
        clips.subjects, clips.class_names, seed=config.seed, validation=choose_epoch
    )[0]


def _describe_history(history: pd.DataFrame, split: Split) -> str:
    last = history.iloc[-1]
    if not len(split.validation):
        return (
            f"trained {formatting.count(len(history), 'epoch')}: loss {last['loss']:.3f}, accuracy "
            f"{last['accuracy']:.3f} on the training clips"
        )
    losses = history["val_loss"].to_numpy()
    best = history.iloc[int(np.nanargmin(losses))] if np.isfinite(losses).any() else last
    return (
        f"kept epoch {int(best['epoch']) + 1} of {len(history)}, with the lowest loss on "
        f"{'the test clips' if split.leak else 'validation'}: {best['val_loss']:.3f}, accuracy "
        f"{best['val_accuracy']:.3f} there"
    )


def _write_tables(clips: SchemeClips, split: Split, folder: Path) -> None:
    with atomic_file(folder / LABELS) as temporary:
        temporary.write_text("\n".join(clips.classes) + "\n")
    table = pd.DataFrame({"subject": clips.subjects, "clip": clips.names})
    with atomic_file(folder / SPLIT) as temporary:
        table.assign(part=split.parts(len(table))).to_csv(temporary, index=False)
