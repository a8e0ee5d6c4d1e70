"""TFDS builder of the data set `casme2`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from casme_tf.datasets.prepared import PreparedClip, prepare_command, read_prepared_folder
from casme_tf.errors import UserError
from casme_tf.labels import CLASSES, EMOTIONS, class_of


class Builder(tfds.core.GeneratorBasedBuilder):
    """Pairs of onset and apex frames of CASME II, cropped to the face."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {  # noqa: RUF012  TFDS reads a plain class attribute
        "1.1.0": "The feature corpus distinguishes CASME II from stand-in data.",
        "1.0.0": "First release.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    CASME II comes from its authors under a license agreement: http://casme.psych.ac.cn. Given
    their raw clips and coding sheet, this command makes the folder that --manual_dir must name:

        {prepare_command()}

    It must hold manifest.csv and, for each of its rows, subXX/ROI_<clip>/onset_frame.jpg and
    subXX/ROI_<clip>/apex_frame.jpg, such as sub01/ROI_EP02_01f/onset_frame.jpg.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "onset": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "apex": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                    "emotion": tfds.features.ClassLabel(names=EMOTIONS),
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
            homepage="https://doi.org/10.1371/journal.pone.0086041",
            # TFDS's default is an order by hash, which changes as soon as keys do. Sorted by
            # subject and clip, example i is row i of the sorted manifest on every machine.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(coding_sheet=""),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        if Path(sys.argv[0]).stem == "tfds":
            sys.tracebacklimit = 0  # its command prints errors of ours with forty lines of its own
        clips = read_prepared_folder(_manual_dir(dl_manager))
        self.info.metadata["coding_sheet"] = ", ".join(sorted({c.coding_sheet for c in clips}))
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


def _manual_dir(dl_manager: tfds.download.DownloadManager) -> Path:
    """Return the folder that --manual_dir names, which TFDS refuses if it is missing or empty."""
    try:
        return Path(dl_manager.manual_dir)
    except AssertionError as error:
        named = re.search("Manual directory (.*) does not exist", str(error))
        folder = Path(named[1] if named else "the default of --manual_dir").absolute()
        raise UserError(
            f"--manual_dir must be a prepared folder, with manifest.csv. Received: {folder}, which "
            f"does not exist or is empty. Make it: {prepare_command(folder)}"
        ) from None
