"""Data sets of pairs: the TFDS builder that all databases share, and opening what it built."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from casme_tf.datasets.databases import Database, database_of
from casme_tf.datasets.prepared import (
    MISSING,
    PreparedClip,
    prepare_command,
    read_prepared_folder,
)
from casme_tf.errors import UserError, command
from casme_tf.labels import CLASSES, class_of

__all__ = ["PairsBuilder", "frame_decoders", "open_dataset"]

VERSION = "1.2.0"


class PairsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Pairs of onset and apex frames of one database, cropped to the face."""

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES = {  # noqa: RUF012  TFDS reads a plain class attribute
        "1.2.0": "Objective classes; clips of the table that are missing are noted.",
        "1.1.0": "The feature corpus distinguishes a database from stand-in data.",
        "1.0.0": "First release.",
    }

    @property
    def database(self) -> Database:
        """The database that is built."""
        part = self.builder_config and self.builder_config.name
        return database_of(f"{self.name}/{part}" if part else self.name)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "onset": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "apex": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                    "emotion": tfds.features.ClassLabel(names=self.database.emotions),
                    "objective": tfds.features.Text(),
                    "subject": tfds.features.Text(),
                    "clip": tfds.features.Text(),
                    "action_units": tfds.features.Text(),
                    "onset_index": tfds.features.Scalar(np.int32),
                    "apex_index": tfds.features.Scalar(np.int32),
                    "offset_index": tfds.features.Scalar(np.int32),
                    "fps": tfds.features.Scalar(np.float32),
                    "apex_source": tfds.features.Text(),
                    # With each example, so that it goes wherever the example goes.
                    "corpus": tfds.features.Text(),
                }
            ),
            supervised_keys=({"onset": "onset", "apex": "apex"}, "label"),
            homepage=self.database.homepage,
            # TFDS's default is an order by hash, which changes as soon as keys do. Sorted by
            # subject and clip, example i is row i of the sorted manifest on every machine.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(coding_sheet="", missing="[]"),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        if Path(sys.argv[0]).stem == "tfds":
            sys.tracebacklimit = 0  # its command prints errors of ours with forty lines of its own
        folder = _manual_dir(dl_manager, self.database)
        clips = read_prepared_folder(folder, self.database)
        self.info.metadata["coding_sheet"] = ", ".join(sorted({c.coding_sheet for c in clips}))
        self.info.metadata["missing"] = json.dumps(_missing_clips(folder))
        return {"train": self._generate_examples(clips)}

    def _generate_examples(
        self, clips: tuple[PreparedClip, ...]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, clip in enumerate(clips):
            yield (
                key,
                {
                    "onset": clip.onset_path,
                    "apex": clip.apex_path,
                    "label": class_of(clip.emotion),
                    "emotion": clip.emotion,
                    "objective": clip.objective,
                    "subject": clip.subject,
                    "clip": clip.clip,
                    "action_units": clip.action_units,
                    "onset_index": clip.onset,
                    "apex_index": clip.apex,
                    "offset_index": -1 if clip.offset is None else clip.offset,
                    "fps": clip.fps,
                    "apex_source": clip.apex_source,
                    "corpus": clip.corpus,
                },
            )


def instructions(name: str, source: str) -> str:
    """Return what TFDS prints where the prepared folder is missing."""
    return f"""
    {source} Given their clips and table, this command makes the folder that --manual_dir must name:

        {prepare_command(database=database_of(name))}

    It must hold manifest.csv and, for each of its rows, <subject>/ROI_<clip>/onset_frame.jpg and
    <subject>/ROI_<clip>/apex_frame.jpg.
    """


def _missing_clips(folder: Path) -> list[dict[str, str]]:
    path = folder / MISSING
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _manual_dir(dl_manager: tfds.download.DownloadManager, database: Database) -> Path:
    """Return the folder that --manual_dir names, which TFDS refuses if it is missing or empty."""
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError as error:
        named = re.search("Manual directory (.*) does not exist", str(error))
        folder = Path(named[1] if named else "the default of --manual_dir").absolute()
        raise UserError(
            f"--manual_dir must be a prepared folder, with manifest.csv. Received: {folder}, which "
            f"does not exist or is empty. Make it: {prepare_command(folder, database)}"
        ) from None


class ExactJpeg(tfds.decode.Decoder):
    """Decodes a JPEG with the accurate inverse transform."""

    def decode_example(self, serialized_example: tf.Tensor) -> tf.Tensor:
        """Return the frame as uint8 RGB `(H, W, 3)`."""
        return tf.io.decode_jpeg(serialized_example, channels=3, dct_method="INTEGER_ACCURATE")


def frame_decoders() -> dict[str, ExactJpeg]:
    """Return the `decoders` of `as_dataset` and `tfds.load` for onset and apex."""
    return {"onset": ExactJpeg(), "apex": ExactJpeg()}


def open_dataset(
    name: str = "casme2", data_dir: Path | str | None = None
) -> tfds.core.DatasetBuilder:
    """Open a data set that `tfds build` wrote.

    Args:
        name: One of `databases.DATABASES`.
        data_dir: The `--data_dir` of the build. Default: TFDS's own, which is the environment
            variable TFDS_DATA_DIR or else `~/tensorflow_datasets`.

    Returns:
        A builder whose `as_dataset(split="train")` yields the clips in order of subject and
        clip. The order holds for `shuffle_files=False` only; TFDS refuses `True`.

    Raises:
        UserError: If it is not built there, or only by another version of the builder.
    """
    database = database_of(name)
    default = os.environ.get("TFDS_DATA_DIR", Path("~", "tensorflow_datasets"))
    root = Path(default if data_dir is None else data_dir).expanduser()
    # A build that was killed leaves a folder named incomplete.*.
    versions = sorted(
        path.parent.name for path in root.glob(f"{database.name}/[0-9]*/dataset_info.json")
    )
    if VERSION not in versions:
        received = f"version {', '.join(versions)}" if versions else "nothing that is built"
        folder = "prepared_dataset" if name == "casme2" else f"prepared_{database.dataset}"
        raise UserError(
            f"The data set {database.name} must be built in version {VERSION} in {root}. Received: "
            f"{received}. Build it: "
            + command(
                *("tfds", "build", database.name),
                *("--imports", f"casme_tf.datasets.{database.dataset}"),
                *("--manual_dir", folder, "--data_dir", root),
            )
        )
    return tfds.builder_from_directory(root / database.name / VERSION)
