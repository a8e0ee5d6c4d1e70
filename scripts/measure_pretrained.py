"""The verb `measure-pretrained`; see `python scripts/measure_pretrained.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("measure-pretrained"))
