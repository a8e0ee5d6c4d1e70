"""TFDS builder of the data set `samm`."""

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of SAMM, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "samm", "SAMM comes from Manchester Metropolitan University under an agreement."
    )
