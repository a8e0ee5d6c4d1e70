"""The verb `export`; see `python scripts/export.py --help`."""

import sys

from casme_tf.cli import main

sys.exit(main("export"))
