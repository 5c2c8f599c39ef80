"""``python -m devcluster.process_node``."""

import sys

from devcluster.process_node.node import main

if __name__ == "__main__":
    sys.exit(main())
