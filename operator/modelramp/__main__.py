"""`python -m modelramp`."""

import sys

from modelramp.cli import main

sys.exit(main())
