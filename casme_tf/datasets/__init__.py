"""TFDS builders, one folder each; importing a folder registers its data set."""
