"""ModuleSimulatorCar: a car's readings, one a second, to the edge hub. `simulator_car` says more.

python -u main.py
"""

import sys

from simulator_car.program import main

if __name__ == "__main__":
    sys.exit(main())
