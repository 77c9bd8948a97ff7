"""Do one measurement in this process and print it as one line of JSON.

run.py starts one such process for each measurement, so that no peer disturbs another.
"""

import argparse
import json
import os

from peers import ENTRIES
from workloads import WORKLOADS


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("peer", choices=ENTRIES)
    parser.add_argument("--choice", type=json.loads, default={}, help="settings, as JSON")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    workload = WORKLOADS[arguments.workload]
    if workload.pinned:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    task = workload.task(
        ENTRIES[arguments.peer],
        arguments.choice,
        quick=arguments.quick,
        workers=arguments.workers,
    )
    print(json.dumps({"figures": workload.measure(task)}), flush=True)


if __name__ == "__main__":
    main()
