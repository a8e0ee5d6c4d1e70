"""The verb `crossval`; see `python scripts/crossval.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("crossval"))
