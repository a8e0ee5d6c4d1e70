"""How the weights of this package and the published figures were made: tested, not installed."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
