"""Fitting one fold: the weights on some people, the epoch chosen on others."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from casme_tf import formatting
from casme_tf.datasets.pairs import Pairs, load_pairs
from casme_tf.datasets.splits import SPLITS, Split
from casme_tf.errors import UserError
from casme_tf.files import atomic_file, explain_write_errors, locked
from casme_tf.labels import CLASSES
from casme_tf.models import ARCHITECTURES, Recipe, split_model
from casme_tf.progress import progress
from casme_tf.runs import CONFIG, LABELS, MODEL, SPLIT, RunRecord, read_split, run_folder, versions
from casme_tf.training.augmentation import Augmentation
from casme_tf.training.batches import compute_motion, evaluation_batches, take, training_batches
from casme_tf.training.precision import choose_precision, dtype_policy
from casme_tf.training.settings import TrainConfig
from casme_tf.training.state import TrainingState


def train(config: TrainConfig) -> Path:
    """Train one fold and keep it as a run.

    The run is made in a folder beside its final place. If training is interrupted, the same
    command goes on from the last whole epoch.

    Args:
        config: What to train; see `TrainConfig`.

    Returns:
        The run's folder, with config.json, labels.txt, split.csv, history.csv and model.keras.

    Raises:
        UserError: If the data set is not built, the run exists, or the weights do not fit.
    """
    config, recipe = _resolved(config)
    final = run_folder(config.runs, config.run_name)
    if final.exists() and not config.overwrite:
        raise UserError(
            f"The run {final} exists. Choose another name with --run, or pass --overwrite."
        )
    with locked(final):
        _train_locked(config, recipe, final)
    return final


def _train_locked(config: TrainConfig, recipe: Recipe, final: Path) -> None:
    pairs = load_pairs(config.data_dir, config.frame_size)
    subjects, classes = (pairs.clips[name].to_numpy() for name in ("subject", "class"))
    if len(set(classes)) < 2:
        raise UserError(
            "Training needs clips of at least 2 classes. Received: a data set with clips of "
            f"{classes[0]} alone. Prepare clips of others, and build it again."
        )
    split = SPLITS[config.split](subjects, classes, seed=config.seed)

    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    model = _build(config, recipe)
    trained = split_model(model)[2]
    if config.precision != "float32":
        with dtype_policy(config.precision):
            trained = split_model(_build(config, recipe))[2]  # frozen alike
    work = _work_folder(final, config)
    _require_same_split(work, pairs, split, config)
    record = RunRecord(asdict(config), list(CLASSES), _describe(split, pairs), versions())
    with explain_write_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        record.save(work / CONFIG)
        _write_tables(pairs, split, work)
        state = TrainingState(
            work, epochs=recipe.epochs, patience=recipe.patience, seed=config.seed
        )
        for name, part in record.split.items():
            if isinstance(part, dict):
                people = formatting.count(len(part["subjects"]), "subject")
                progress.write(f"{name}: {part['clips']} clips of {people}", file=sys.stderr)
        _fit(model, trained, pairs, split, config, recipe, state)
        best = state.history[state.best_epoch]
        progress.write(
            f"kept epoch {state.best_epoch + 1} of {state.epochs_done}, with the lowest loss on "
            f"{'the test clips' if split.leak else 'validation'}: {best['val_loss']:.3f}, accuracy "
            f"{best['val_accuracy']:.3f} there",
            file=sys.stderr,
        )
        with atomic_file(work / MODEL) as temporary:
            model.save(temporary)
        _publish(work, final)
        state.discard(final)


def reestimate_batch_normalization(network: keras.Model, batches: tf.data.Dataset) -> None:
    """Replace the running statistics of batch normalisation by their mean over `batches`.

    Running statistics lag behind the weights; after some hundred steps from random weights they
    can be so far off that inference answers one class where training was right.

    Args:
        network: Model whose batch-normalisation layers are updated in place.
        batches: Batches `(input, label)` of the training part alone.
    """
    layers = [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # each pass leaves the statistics of its own batch
    forward = tf.function(lambda x: network(x, training=True), reduce_retracing=True)
    statistics = [variable for layer in layers for variable in layer.non_trainable_variables]
    sums = [np.zeros(variable.shape, np.float64) for variable in statistics]
    count = 0
    for x, _ in batches:
        forward(x)
        count += 1
        for total, variable in zip(sums, statistics, strict=True):
            total += variable.numpy()
    for total, variable in zip(sums, statistics, strict=True):
        variable.assign(total / count)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _build(config: TrainConfig, recipe: Recipe) -> keras.Model:
    return ARCHITECTURES[config.arch].build(
        frame_size=config.frame_size,
        network_size=config.network_size,
        classes=len(CLASSES),
        weights=config.weights,
        dropout=recipe.dropout,
    )


def _resolved(config: TrainConfig) -> tuple[TrainConfig, Recipe]:
    """Fill in what was left to the architecture; also return the recipe that this gives."""
    architecture = ARCHITECTURES[config.arch]
    default = architecture.recipe
    given = {name: getattr(config, name) for name in asdict(default)}
    recipe = replace(default, **{name: x for name, x in given.items() if x is not None})
    for name in ("epochs", "batch_size", "patience"):
        if getattr(recipe, name) < 1:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} must be at least 1. Received: {getattr(recipe, name)}.")
    for name, value, low, high in (
        ("seed", config.seed, 0, 2**31 - 1),
        ("frame-size", config.frame_size, 64, 512),
        ("dropout", recipe.dropout, 0, 0.95),
    ):
        if not low <= value <= high:
            raise UserError(f"--{name} must be from {low} to {high}. Received: {value}.")
    if not 0 < config.learning_rate < 1:
        raise UserError(
            f"--learning-rate must be above 0 and below 1. Received: {config.learning_rate}."
        )
    fixed = architecture.network_size
    if fixed and config.network_size not in (None, fixed):
        raise UserError(
            f"--network-size of {config.arch} must be left at {fixed}. "
            f"Received: {config.network_size}."
        )
    size = fixed or config.network_size or config.frame_size
    weights = config.weights or architecture.weights
    data_dir = config.data_dir and config.data_dir.expanduser().resolve()
    if config.precision == "auto":
        config = replace(config, precision=choose_precision(size))
    config = replace(
        config, run=config.run_name, data_dir=data_dir, network_size=size, weights=weights
    )
    return replace(config, **asdict(recipe)), recipe


def _work_folder(final: Path, config: TrainConfig) -> Path:
    """Return the folder to train in; what is there already must be of the same training."""
    work = final.with_name(f".{final.name}.training")
    if not work.exists():
        return work
    if not (work / CONFIG).is_file():
        shutil.rmtree(work)
        return work
    begun = RunRecord.load(work / CONFIG).train
    now = {name: str(value) for name, value in asdict(config).items() if name != "overwrite"}
    differing = [name for name, value in now.items() if str(begun.get(name)) != value]
    if differing and not config.overwrite:
        raise UserError(
            f"An interrupted training of {final.name} has other settings ({', '.join(differing)}). "
            "Repeat its command to go on with it, or pass --overwrite to begin anew."
        )
    if differing:
        shutil.rmtree(work)
    return work


def _require_same_split(work: Path, pairs: Pairs, split: Split, config: TrainConfig) -> None:
    """Refuse to go on with weights that were fitted on another division of the people."""
    if not (work / SPLIT).is_file():
        return
    begun = read_split(work)
    now = _split_table(pairs, split).astype(str)
    if begun.to_numpy().tolist() != now.to_numpy().tolist():
        if not config.overwrite:
            raise UserError(
                "An interrupted training must go on with the clips that it began with. Received: "
                "a data set that was built anew since. Pass --overwrite to begin anew."
            )
        shutil.rmtree(work)


def _split_table(pairs: Pairs, split: Split) -> pd.DataFrame:
    return pairs.clips[["subject", "clip"]].assign(part=split.parts(len(pairs)))


def _publish(work: Path, final: Path) -> None:
    """Put the new run in place of an earlier one, which is removed last."""
    replaced = final.with_name(f".{final.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    work.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)


def _fit(
    model: keras.Model,
    trained: keras.Model,
    pairs: Pairs,
    split: Split,
    config: TrainConfig,
    recipe: Recipe,
    state: TrainingState,
) -> None:
    """Give the model's network the weights that were best on validation.

    What is fitted is `trained`: the network itself, or the same network in another arithmetic.
    """
    motion_model, encoding, network = split_model(model)
    motion = compute_motion(motion_model, pairs.frames)
    fit_motion, fit_labels = take(motion, split.train), pairs.labels[split.train]
    batches = partial(
        training_batches,
        fit_motion,
        fit_labels,
        batch_size=recipe.batch_size,
        seed=config.seed,
        augmentation=Augmentation() if config.augment else None,
        encoding=encoding,
    )
    if trained is not network:
        trained.set_weights(network.get_weights())
    # A model around the same layers is compiled, so that the network is kept without optimizer.
    fitted = keras.Model(trained.input, trained.output)
    optimizer = keras.optimizers.Adam(config.learning_rate)
    # Variables that are first made by a step cause it to be traced a second time.
    optimizer.build(fitted.trainable_variables)
    fitted.compile(
        optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    if not state.finished:
        progress.write(
            "tracing the first epoch, which takes up to a minute or two for ResNet50",
            file=sys.stderr,
        )
        fitted.fit(
            batches(first_epoch=state.epochs_done, epochs=recipe.epochs),
            validation_data=evaluation_batches(
                take(motion, split.validation), pairs.labels[split.validation], encoding=encoding
            ),
            initial_epoch=state.epochs_done,
            epochs=recipe.epochs,
            steps_per_epoch=max(1, len(fit_labels) // recipe.batch_size),
            class_weight=_class_weight(fit_labels) if config.class_weights else None,
            callbacks=[
                state,
                keras.callbacks.TensorBoard(state.folder / "tensorboard", write_graph=False),
            ],
            shuffle=False,  # the batches are in random order already
            verbose=0,
        )
    fitted.load_weights(state.best_weights)
    if trained is not network:
        network.set_weights(trained.get_weights())
    reestimate_batch_normalization(network, batches(epochs=1))


def _class_weight(labels: np.ndarray) -> dict[int, float]:
    """Weigh each class by the inverse of its share of the training clips."""
    present = np.unique(labels)
    weights = compute_class_weight("balanced", classes=present, y=labels)
    return dict(zip(present.tolist(), weights.tolist(), strict=True))


def _describe(split: Split, pairs: Pairs) -> dict[str, Any]:
    """Say which corpus it is, and in numbers who is in which part."""
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        "corpus": pairs.corpus,
        "coding_sheet": pairs.coding_sheet,
        "protocol": split.protocol,
        "leak": split.leak,
        **{
            name: {
                "clips": len(indices),
                "subjects": sorted(set(pairs.clips["subject"].iloc[indices])),
                "classes": pairs.clips["class"].iloc[indices].value_counts().sort_index().to_dict(),
            }
            for name, indices in parts.items()
        },
    }


def _write_tables(pairs: Pairs, split: Split, folder: Path) -> None:
    with atomic_file(folder / LABELS) as temporary:
        temporary.write_text("\n".join(CLASSES) + "\n")
    with atomic_file(folder / SPLIT) as temporary:
        _split_table(pairs, split).to_csv(temporary, index=False)
