"""Python imports this at its start if this folder is on PYTHONPATH: arms worker processes."""

import os
import sys

if "APLEX_FAULTS" in os.environ:
    from reliability.killing import faults

    os.register_at_fork(after_in_child=faults.arm)  # the start methods fork and forkserver
    if "--multiprocessing-fork" in sys.orig_argv:  # a worker of the start method spawn
        faults.arm()
