"""The verb `predict`; see `python scripts/predict.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("predict"))
