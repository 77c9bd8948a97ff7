"""Python imports this at its start if this folder is on PYTHONPATH: a process of an emulation."""

from tests.support.emulation import start

if start.emulated():
    start.arm()
