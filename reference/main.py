"""OColecionador's name for the training: `python main.py`."""

import os
import sys

from reference.training import main

if __name__ == "__main__":
    sys.exit(main(os.environ))
