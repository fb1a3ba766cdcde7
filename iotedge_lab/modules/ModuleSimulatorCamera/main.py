"""ModuleSimulatorCamera: a dash camera's videos, in a folder that modules share. `simulator_camera` says more.

python -u main.py
"""

import logging
import os
import sys

from simulator_camera.program import main

if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: that waits for the SDK's threads, which may not end while the edge hub is away.
    os._exit(code)
