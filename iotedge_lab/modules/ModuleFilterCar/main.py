"""ModuleFilterCar: a model's speed for each row of the car, and to the hub only what matters. `filter_car` says more.

python -u main.py
"""

import logging
import os
import sys

from filter_car.program import main

if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: that waits for the SDK's threads, which may not end while the edge hub is away.
    os._exit(code)
