"""TFDS builder of the data set `casme`."""

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of CASME, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "casme", "CASME comes from its authors under an agreement: http://casme.psych.ac.cn."
    )
