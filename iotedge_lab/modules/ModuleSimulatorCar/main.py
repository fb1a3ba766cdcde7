"""ModuleSimulatorCar: a car's readings, one a second, to the edge hub. `simulator_car` says more.

python -u main.py
"""

import logging
import os
import sys

from simulator_car.program import main

if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: that waits for the SDK's threads, which may not end while the edge hub is away.
    os._exit(code)
