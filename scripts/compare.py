"""The verb `compare`; see `python scripts/compare.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("compare"))
