"""The verb `inspect-tflite`; see `python scripts/inspect_tflite.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("inspect-tflite"))
