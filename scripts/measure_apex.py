"""The verb `measure-apex`; see `python scripts/measure_apex.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("measure-apex"))
