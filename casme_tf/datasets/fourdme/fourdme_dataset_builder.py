"""TFDS builder of the data set `fourdme`."""

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of 4DME, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "fourdme", "4DME comes from the University of Oulu on request."
    )
