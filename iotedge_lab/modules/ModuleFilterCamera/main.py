"""ModuleFilterCamera: what is in a camera's videos, and no picture, to the edge hub. `filter_camera` says more.

python -u main.py
"""

import logging
import os
import sys

from filter_camera.program import main

if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: that waits for the SDK's threads, which may not end while the edge hub is away.
    os._exit(code)
