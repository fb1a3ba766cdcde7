"""A module that ends at once, with the exit code that its environment says."""

import os
import sys

sys.exit(int(os.environ["CODE"]))
