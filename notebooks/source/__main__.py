"""`python -m notebooks.source`: make the notebooks (see `notebooks.source.make`)."""

import sys

from notebooks.source.make.command import main

sys.exit(main())
