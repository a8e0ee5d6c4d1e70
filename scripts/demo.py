"""The verb `demo`; see `python scripts/demo.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("demo"))
