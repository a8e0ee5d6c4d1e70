"""The verb `evaluate`; see `python scripts/evaluate.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("evaluate"))
