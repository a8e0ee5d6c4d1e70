"""What a training must remember to be interrupted and go on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pandas as pd

from casme_tf.files import atomic_file
from casme_tf.progress import progress
from casme_tf.runs import HISTORY


class TrainingState(keras.callbacks.Callback):
    """Keep history, best weights and last state on disk; stop when validation stops improving.

    After each epoch the history, the weights if they are the best on the validation clips, and
    the whole state (weights and optimizer) are written, each by rename. Dropout is seeded anew
    with each epoch's number, since Keras does not save its random state.

    Args:
        folder: Where to keep them; what is there already is taken up.
        epochs: Largest number of epochs.
        patience: Epochs without a better validation loss before training stops.
        seed: Seed of dropout.
    """

    def __init__(self, folder: Path, *, epochs: int, patience: int, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self.folder = folder
        self._epochs = epochs
        self._patience = patience
        saved = sorted(folder.glob("state-*.weights.h5"))
        self._last = saved[-1] if saved else None
        self.history: list[dict[str, Any]] = []
        if self._last is not None:
            done = int(self._last.name.split("-")[1].split(".")[0])
            rows = pd.read_csv(folder / HISTORY).head(done)
            self.history = rows.to_dict("records")  # type: ignore[assignment]

    @property
    def epochs_done(self) -> int:
        """Number of whole epochs."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether no further epoch is due."""
        since_best = self.epochs_done - 1 - self.best_epoch if self.history else 0
        return self.epochs_done >= self._epochs or since_best >= self._patience

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the lowest validation loss, from 0."""
        losses = [row["val_loss"] for row in self.history]
        return losses.index(min(losses))

    @property
    def best_weights(self) -> Path:
        """The weights after that epoch."""
        return self.folder / "best.weights.h5"

    @staticmethod
    def discard(folder: Path) -> None:
        """Remove all but the history from the folder of a finished training."""
        for path in [*folder.glob("*.weights.h5"), *folder.glob(".*.tmp*")]:
            path.unlink()  # the hidden ones are what a killed process was writing

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put the model where the last whole epoch left it."""
        if self._last is not None:
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.load_weights(self._last)
        self._bar = progress(
            total=self._epochs, initial=self.epochs_done, desc="training", unit="epoch"
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Seed what is random in the model by the epoch's number."""
        for i, layer in enumerate(self.model._flatten_layers()):
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([self._seed + i, epoch << 20])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write everything down."""
        logs = logs or {}
        self.history.append({"epoch": epoch, **logs})
        if self.best_epoch == epoch:
            self._save(self.best_weights)
        with atomic_file(self.folder / HISTORY) as temporary:
            pd.DataFrame(self.history).to_csv(temporary, index=False)
        state = self.folder / f"state-{epoch + 1:05d}.weights.h5"
        self._save(state)
        if self._last is not None:
            self._last.unlink(missing_ok=True)
        self._last = state
        shown = {name: f"{value:.3f}" for name, value in logs.items() if name.startswith("val_")}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()
        self.model.stop_training = self.finished

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the progress bar."""
        self._bar.close()

    def _save(self, path: Path) -> None:
        with atomic_file(path) as temporary:
            # Keras insists on the whole suffix, which a temporary name keeps only in part.
            whole = temporary.with_suffix(".weights.h5")
            self.model.save_weights(whole)
            whole.replace(temporary)
