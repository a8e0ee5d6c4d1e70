"""The verb `pretrain`; see `python scripts/pretrain.py --help`."""

import sys

from casme_tf.cli.main import main

sys.exit(main("pretrain"))
