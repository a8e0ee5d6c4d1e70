"""`python -m casme_tf <verb>`, the same as the command `casme-tf`."""

import sys

from casme_tf.cli.main import main

sys.exit(main())
