"""What is to be said of a library in a case, by the facts that its program told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reliability.board.cases import Case
from reliability.board.scene import GROUPS

TRACEBACK = "Traceback (most recent call last)"
CHAINED = "During handling of the above exception, another exception occurred"
FAILED = {"others": "lost works", "later": "broken", "asked": "refused"}
"""The word for works that must return, and fail."""
SHOWN = 200
"""Characters of a message that are shown."""
Facts = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """The words of a verdict, and what the user sees."""

    words: tuple[str, ...]  # empty: ok
    seen: str
    seconds: float

    @property
    def ok(self) -> bool:
        return not self.words

    def __str__(self) -> str:
        return ", ".join(self.words) or "ok"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    case: Case, facts: Facts, errors: str, *, ended: bool, seconds: float, orphans: int = 0
) -> Verdict:
    """Judge what came of a case."""
    words: list[str] = []
    seen: list[str] = []
    if case.ends == "by itself":
        _judge_works(facts, words, seen)
        _judge_end(facts, words, seen, errors, ended=ended)
    elif not any(fact["kind"] == "ready" for fact in facts):
        words.append("hang")
        seen.append(_quoted(_last_line(errors)) or "the works never start")
    elif case.ends == "by Ctrl-C":
        _judge_interrupt(words, seen, errors, late=0 if ended else seconds)
    if orphans:
        words.append(f"{orphans} orphans")
        seen.append(f"{orphans} processes live on when the program is gone")
    return Verdict(tuple(dict.fromkeys(words)), "; ".join(dict.fromkeys(seen)), round(seconds, 1))


def _judge_works(facts: Facts, words: list[str], seen: list[str]) -> None:
    for fact in facts:
        kind = fact["kind"]
        if kind == "hit":
            seen.append(_quoted(fact["seen"]) or "the work that was hit never ends")
            if not fact["ended"]:
                words.append("hang")
        elif kind == "stalled":
            words.append("stalls")
            seen.append("works wait for the stopped worker")
        elif kind in GROUPS:
            _judge_group(fact, words, seen)


def _judge_group(fact: dict[str, Any], words: list[str], seen: list[str]) -> None:
    """Judge what became of works that must return."""
    who = GROUPS[fact["kind"]]
    total = sum(fact[name] for name in ("right", "wrong", "failed", "never"))
    if fact["never"]:
        words.append("hang")
        seen.append(f"{fact['never']} of {total} works {who} never end")
    if fact["failed"]:
        words.append(FAILED[fact["kind"]])
        seen.append(f"{fact['failed']} of {total} works {who}: {_quoted(fact['seen'])}")
    if fact["wrong"]:
        words.append("wrong results")
        seen.append(f"{fact['wrong']} of {total} works {who} return something else")


def _judge_end(
    facts: Facts, words: list[str], seen: list[str], errors: str, *, ended: bool
) -> None:
    doing = [fact["what"] for fact in facts if fact["kind"] == "doing"]
    if not ended:
        words.append("hang")
        seen.append(f"the program never comes to an end: it waits for {doing[-1]}")
    elif not any(fact["kind"] == "end" for fact in facts):
        words.append("fails")
        where = f" in {doing[-1]}" if doing else ""
        seen.append(f"the program fails{where}: {_quoted(_last_line(errors))}")


def _judge_interrupt(words: list[str], seen: list[str], errors: str, *, late: float) -> None:
    count = errors.count(TRACEBACK) - errors.count(CHAINED)
    tracebacks = "1 traceback" if count == 1 else f"{count} tracebacks"
    if late:
        words.append("runs on")
        seen.append(f"the program is still there after {late:.0f} s, with {tracebacks}")
    else:
        seen.append(f"it ends, with {tracebacks}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _quoted(text: str) -> str:
    """Return a message of a library as code; nothing for nothing."""
    if len(text) > SHOWN:
        text = text[:SHOWN].rstrip() + "…"
    return f"`{text.replace('`', chr(39))}`" if text else ""
