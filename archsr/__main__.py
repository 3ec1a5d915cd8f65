"""`python -m archsr`."""

import sys

from archsr.cli import main

sys.exit(main())
