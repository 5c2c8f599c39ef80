"""``python -m devcluster.demo``."""

import sys

from devcluster.demo.run import main

if __name__ == "__main__":
    sys.exit(main())
