"""The table of workloads, in the order of the report."""

from workloads import arrays, latency, life, limits, mapping, mixed, submitting
from workloads.base import Workload

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for group in (submitting, latency, mapping, mixed, arrays, life, limits)
    for workload in group.WORKLOADS
}
