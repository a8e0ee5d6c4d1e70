"""The verb `train`; see `python scripts/train.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("train"))
