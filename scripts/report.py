"""The verb `report`; see `python scripts/report.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("report"))
