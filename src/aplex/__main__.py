"""`python -m aplex COMMAND …` is the same as `aplex COMMAND …`."""

import sys

from aplex._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
