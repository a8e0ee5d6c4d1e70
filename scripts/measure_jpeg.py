"""The verb `measure-jpeg`; see `python scripts/measure_jpeg.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("measure-jpeg"))
