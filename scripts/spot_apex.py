"""The verb `spot-apex`; see `python scripts/spot_apex.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("spot-apex"))
