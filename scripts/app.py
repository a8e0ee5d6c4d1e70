"""The verb `app`; see `python scripts/app.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("app"))
