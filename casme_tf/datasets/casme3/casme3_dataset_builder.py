"""TFDS builder of the data set `casme3`."""

import tensorflow_datasets as tfds

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of CAS(ME)³, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "casme3/a", "CAS(ME)3 comes from its authors under an agreement: http://casme.psych.ac.cn."
    )
    BUILDER_CONFIGS = [  # noqa: RUF012  TFDS reads a plain class attribute
        tfds.core.BuilderConfig(name="a"),
        tfds.core.BuilderConfig(name="c"),
    ]
