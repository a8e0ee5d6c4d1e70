"""The verb `measure-corpus`; see `python scripts/measure_corpus.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("measure-corpus"))
