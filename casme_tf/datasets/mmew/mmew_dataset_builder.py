"""TFDS builder of the data set `mmew`."""

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of MMEW, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "mmew", "MMEW comes from Shandong University under an agreement."
    )
