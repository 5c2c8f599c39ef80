"""``python -m modelconversion_operator``."""

import sys

from modelconversion_operator.main import main

sys.exit(main())
