"""TFDS builder of the data set `samm`."""

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of SAMM, cropped to the face."""

    HOMEPAGE = "https://doi.org/10.1109/TAFFC.2016.2573832"
    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "samm", "SAMM comes from Manchester Metropolitan University under an agreement."
    )
