"""The verb `prepare-dataset`; see `python scripts/prepare_dataset.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("prepare-dataset"))
