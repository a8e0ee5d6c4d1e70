"""The verb `export`; see `python scripts/export.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("export"))
