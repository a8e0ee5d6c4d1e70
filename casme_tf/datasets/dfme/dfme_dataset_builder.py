"""TFDS builder of the data set `dfme`."""

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of DFME, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "dfme",
        "DFME comes from the University of Science and Technology of China under an agreement.",
    )
