"""Rounds in which the peers take turns, each measurement in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environments import HERE, Environment
from peers import ENTRIES, Settings
from workloads.base import Figures, Workload

EXCEPTION = re.compile(r"[\w.]*(Error|Exception|Exit|Interrupt)\b(:|$)")


class MeasurementError(Exception):
    """A measurement gave no figures; the text says why."""


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    rounds: int
    quick: bool
    workers: int
    seconds: float  # the most that one measurement may take


@dataclass
class Result:
    """What a peer did in one workload: its figures round by round, or its trouble."""

    peer: str
    choice: Settings = field(default_factory=dict)
    figures: list[Figures] = field(default_factory=list)
    trouble: str = ""


def measure(
    workload: Workload, peer: str, choice: Settings, environment: Environment, plan: Plan
) -> Figures:
    command = [str(environment.python), str(HERE / "measure.py"), workload.name, peer]
    command += ["--choice", json.dumps(choice), "--workers", str(plan.workers)]
    command += ["--quick"] if plan.quick else []
    return read_figures(*run_limited(command, environment.environ(), plan.seconds))


def run_limited(
    command: list[str], environ: dict[str, str], seconds: float
) -> tuple[str, str, int]:
    """Run it in a process group of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"hangs (stopped after {seconds:.0f} s)") from None
    finally:
        end_group(process)
    return out, err, process.returncode


def end_group(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing is left of it, as it should be
    process.wait()


def read_figures(out: str, err: str, code: int) -> Figures:
    for line in reversed(out.splitlines()):
        if line.startswith('{"figures":'):
            figures: Figures = json.loads(line)["figures"]
            return figures
    raise MeasurementError(f"fails: {last_words(err) or f'exit code {code}'}")


def last_words(err: str) -> str:
    """The exception a program has died of; or else the last line it wrote."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    errors = [line for line in lines if EXCEPTION.match(line)]
    return (errors or lines or [""])[-1][:120]


def best_choice(workload: Workload, peer: str, environment: Environment, plan: Plan) -> Settings:
    """Try each of a peer's settings once; these figures are not counted."""
    choices = workload.choices(ENTRIES[peer])
    if plan.quick or len(choices) == 1:
        return choices[0]
    metric = workload.metrics[0]
    tried: list[tuple[float, int]] = []
    trouble = MeasurementError("no settings")
    for place, choice in enumerate(choices):
        try:
            value = measure(workload, peer, choice, environment, plan)[metric.name]
        except MeasurementError as error:
            trouble = error
            continue
        tried.append((value if metric.more_is_better else -value, place))
    if not tried:
        raise trouble
    return choices[max(tried)[1]]


def run_workload(
    workload: Workload, peers: list[str], environments: dict[str, Environment | str], plan: Plan
) -> list[Result]:
    """A B C A B C …; a peer in trouble is left out of the remaining rounds."""
    results = [Result(peer) for peer in peers]
    for number in range(plan.rounds):
        for result in results:
            if not result.trouble:
                take_turn(workload, result, environments, plan, first=number == 0)
        print(".", end="", file=sys.stderr, flush=True)
    return results


def take_turn(
    workload: Workload,
    result: Result,
    environments: dict[str, Environment | str],
    plan: Plan,
    *,
    first: bool,
) -> None:
    environment = environments[ENTRIES[result.peer].environment]
    if isinstance(environment, str):
        result.trouble = environment
        return
    try:
        if first:
            result.choice = best_choice(workload, result.peer, environment, plan)
        result.figures.append(measure(workload, result.peer, result.choice, environment, plan))
    except MeasurementError as error:
        result.trouble = str(error)


def as_json(result: Result) -> dict[str, Any]:
    return {
        "peer": result.peer,
        "choice": result.choice,
        "figures": result.figures,
        "trouble": result.trouble,
    }


def from_json(saved: dict[str, Any]) -> Result:
    return Result(saved["peer"], saved["choice"], saved["figures"], saved["trouble"])


def load(path: Path) -> dict[str, list[Result]]:
    """The results that run.py has saved, by workload."""
    workloads = json.loads(path.read_text(encoding="utf-8"))["workloads"]
    return {name: [from_json(one) for one in many] for name, many in workloads.items()}
