"""Opening the data set once it is built, and decoding its frames."""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds

from casme_tf.errors import UserError, command

from .casme2_dataset_builder import Builder

__all__ = ["frame_decoders", "open_casme2"]


class ExactJpeg(tfds.decode.Decoder):
    """Decodes a JPEG with the accurate inverse transform."""

    def decode_example(self, serialized_example: tf.Tensor) -> tf.Tensor:
        """Return the frame as uint8 RGB `(H, W, 3)`."""
        return tf.io.decode_jpeg(serialized_example, channels=3, dct_method="INTEGER_ACCURATE")


def frame_decoders() -> dict[str, ExactJpeg]:
    """Return the `decoders` of `as_dataset` and `tfds.load` for onset and apex."""
    return {"onset": ExactJpeg(), "apex": ExactJpeg()}


def open_casme2(data_dir: Path | str | None = None) -> tfds.core.DatasetBuilder:
    """Open the data set that `tfds build` wrote.

    Args:
        data_dir: The `--data_dir` of the build. Default: TFDS's own, which is the environment
            variable TFDS_DATA_DIR or else `~/tensorflow_datasets`.

    Returns:
        A builder whose `as_dataset(split="train")` yields the clips in order of subject and
        clip. The order holds for `shuffle_files=False` only; TFDS refuses `True`.

    Raises:
        UserError: If it is not built there, or only by another version of the builder.
    """
    default = os.environ.get("TFDS_DATA_DIR", Path("~", "tensorflow_datasets"))
    root = Path(default if data_dir is None else data_dir).expanduser()
    # A build that was killed leaves a folder named incomplete.*.
    versions = sorted(path.parent.name for path in root.glob("casme2/[0-9]*/dataset_info.json"))
    needed = str(Builder.VERSION)
    if needed not in versions:
        received = f"version {', '.join(versions)}" if versions else "nothing that is built"
        raise UserError(
            f"The data set casme2 must be built in version {needed} in {root}. Received: "
            f"{received}. Build it: "
            + command(
                *("tfds", "build", "casme2", "--imports", "casme_tf.datasets.casme2"),
                *("--manual_dir", "prepared_dataset", "--data_dir", root),
            )
        )
    return tfds.builder_from_directory(root / "casme2" / needed)
