"""The verb `synthesize`; see `python scripts/synthesize.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("synthesize"))
