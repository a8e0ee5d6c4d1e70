"""The verb `stream`; see `python scripts/stream.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("stream"))
