"""TFDS builder of the data set `casme2`."""

from casme_tf.datasets.built import PairsBuilder, instructions


class Builder(PairsBuilder):
    """Pairs of onset and apex frames of CASME II, cropped to the face."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = instructions(
        "casme2", "CASME II comes from its authors under an agreement: http://casme.psych.ac.cn."
    )
