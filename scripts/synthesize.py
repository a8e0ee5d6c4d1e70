"""The verb `synthesize`; see `python scripts/synthesize.py --help`."""

import sys

from casme_tf.cli import main

sys.exit(main("synthesize"))
