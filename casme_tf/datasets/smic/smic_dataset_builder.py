"""TFDS builder of the data set `smic`."""

import tensorflow_datasets as tfds

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of SMIC, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "smic/hs", "SMIC comes from the University of Oulu on request."
    )
    BUILDER_CONFIGS = [  # noqa: RUF012  TFDS reads a plain class attribute
        tfds.core.BuilderConfig(name="hs"),
        tfds.core.BuilderConfig(name="vis"),
        tfds.core.BuilderConfig(name="nir"),
    ]
