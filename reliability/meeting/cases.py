"""Cases: which features meet, and which of them can."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict, dataclass, fields
from typing import Final

from reliability.meeting.covering import Row, covering

OFF: Final = "off"
WAYS: Final = ("submit", "map", "chunks", "auto", "stream")
ENGINES: Final = ("fork", "spawn", "forkserver", "thread")
FACES: Final = ("blocking", "asyncio", "uvloop")
COLUMNS: Final = {
    "way": WAYS,
    "engine": ENGINES,
    "face": FACES,
    "lane": ("plain", "coroutine"),
    "limits": (OFF, "concurrency", "rate"),
    "priority": (OFF, "mixed"),
    "deadline": (OFF, "time_limit", "deadline"),
    "cancel": (OFF, "early", "late"),
    "retries": (OFF, "two"),
    "big": (OFF, "bytes", "buffer"),
    "resize": (OFF, "both"),
    "recycling": (OFF, "four"),
    "death": (OFF, "own", "outside"),
    "fork": (OFF, "os", "multiprocessing"),
    "end": ("with", "wait", "nowait", "cancel", "exit"),
}
"""What may meet; the first value of a feature is that of a pool that is used plainly."""


@dataclass(frozen=True)
class Case:
    """One program in which features meet."""

    way: str = "submit"
    engine: str = "fork"
    face: str = "blocking"
    lane: str = "plain"
    limits: str = OFF
    priority: str = OFF
    deadline: str = OFF
    cancel: str = OFF
    retries: str = OFF
    big: str = OFF
    resize: str = OFF
    recycling: str = OFF
    death: str = OFF
    fork: str = OFF
    end: str = "with"
    seed: int = 1

    @classmethod
    def parsed(cls, text: str) -> Case:
        """Return the case that such a text stands for; see `__str__`."""
        words = dict(word.split("=", 1) for word in text.split(",") if word)
        seed = int(words.pop("seed", "1"))
        for name, value in words.items():
            if value not in COLUMNS.get(name, ()):
                raise ValueError(f"no such feature: {name}={value}")
        case = cls(**words, seed=seed)
        if not can_meet(asdict(case)):
            raise ValueError(f"these cannot meet: {text}")
        return case

    def __str__(self) -> str:
        """Name what is not as usual, and what is always of interest."""
        kept = ("way", "engine", "face", "lane", "seed")
        values = ((one.name, getattr(self, one.name), one.default) for one in fields(self))
        return ",".join(
            f"{name}={v}" for name, v, default in values if name in kept or v != default
        )

    @property
    def plain(self) -> bool:
        """Whether its works are plain functions or generators."""
        return self.lane == "plain"

    @property
    def awaitable(self) -> bool:
        """Whether its executor is."""
        return self.face != "blocking"

    @property
    def in_chunks(self) -> bool:
        """Whether items travel together."""
        return self.way in ("chunks", "auto")

    @property
    def stubborn(self) -> bool:
        """Whether its works cannot be stopped while they run."""
        return self.engine == "thread" and self.plain


def can_meet(row: Row) -> bool:
    """Whether such values can: a thread cannot be killed, and a stream has no deadline."""
    if row.get("engine") == "thread" and row.get("death", OFF) != OFF:
        return False
    return row.get("way") != "stream" or row.get("deadline", OFF) == OFF


def short_form(seed: int) -> list[Case]:
    """Every pair of values once."""
    return _cases([covering(COLUMNS, 2, can_meet, random.Random(seed))], seed)


def triples(seed: int) -> list[Case]:
    """Every three values once."""
    return _cases([covering(COLUMNS, 3, can_meet, random.Random(seed))], seed)


def long_form(seed: int) -> list[Case]:
    """Every pair of features with every way, engine and face; first with the ones, then others."""
    rng = random.Random(seed)
    arrays = []
    for way, engine, face in itertools.product(WAYS, ENGINES, FACES):
        columns = {**COLUMNS, "way": (way,), "engine": (engine,), "face": (face,)}
        if engine == "thread":
            columns["death"] = (OFF,)
        if way == "stream":
            columns["deadline"] = (OFF,)
        arrays.append(covering(columns, 2, can_meet, rng))
    return _cases(arrays, seed)


FORMS: Final = {"long": long_form, "triples": triples, "short": short_form}


def _cases(arrays: list[list[Row]], seed: int) -> list[Case]:
    """Return the rows as cases, of each array one in turn."""
    turns = itertools.zip_longest(*arrays)
    rows = [row for turn in turns for row in turn if row is not None]
    return [Case(**row, seed=seed * 10_000 + number) for number, row in enumerate(rows)]  # type: ignore[arg-type]
