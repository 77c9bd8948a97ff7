"""Draws the rooms of `src/aplex` from the real imports; a test compares, and uses its parts.

    python3 docs/_ext/rooms.py            print the drawing
    python3 docs/_ext/rooms.py --write    put it into docs/architecture.md

A room is a folder of `src/aplex`, or a module that lies beside the folders. The drawing shows
what is imported at run time, inside functions too.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "aplex"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- rooms -->\n\n```text\n"
BLOCK = re.compile(rf"(?<={BEGIN}).*?(?=^```$)", re.MULTILINE | re.DOTALL)

Graph = dict[str, set[str]]


def modules(source: Path = SOURCE) -> dict[str, ast.Module]:
    """Return the name of each module within the package, "" for itself, and its source."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.AST, *, late: bool = True, types: bool = True) -> set[str]:
    """Return the absolute names that a module imports.

    Args:
        tree: Its source.
        late: Whether imports inside functions count.
        types: Whether imports under `if TYPE_CHECKING` count.
    """
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if not types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= imported(node, late=late, types=types)
    return names


def arrows(known: dict[str, ast.Module], *, late: bool = True, types: bool = True) -> Graph:
    """Return for each module the modules of the package that it imports, folders left out."""
    folders = {name.rpartition(".")[0] for name in known} - {""}
    graph = {}
    for name, tree in known.items():
        names = imported(tree, late=late, types=types)
        inside = {other.removeprefix("aplex.") for other in names if other.startswith("aplex.")}
        graph[name] = {other for other in inside if other in known} - folders - {name}
    return graph


def room(module: str) -> str:
    """Return the room in which a module lies."""
    return module.partition(".")[0]


def between_rooms(graph: Graph) -> Graph:
    """Return for each room the rooms that it imports from; the package itself is left out."""
    rooms: Graph = {room(name): set() for name in graph if name}
    for name, others in graph.items():
        if name:
            rooms[room(name)] |= {room(other) for other in others} - {room(name)}
    return rooms


def floors(rooms: Graph) -> list[list[str]]:
    """Return the rooms from the top down: each imports only from floors below its own."""
    height: dict[str, int] = {}

    def measure(name: str, above: tuple[str, ...] = ()) -> int:
        if name in above:
            raise ValueError(f"rooms import each other: {' -> '.join((*above, name))}")
        if name not in height:
            height[name] = max((measure(o, (*above, name)) + 1 for o in rooms[name]), default=0)
        return height[name]

    top = max(map(measure, rooms))
    return [sorted(name for name in rooms if height[name] == n) for n in range(top, -1, -1)]


def draw(graph: Graph) -> str:
    """Return the drawing: a floor a paragraph, a room a line, and which rooms it stands on."""
    rooms = between_rooms(graph)
    lines = []
    for level in floors(rooms):
        for name in level:
            files = sum(room(module) == name for module in graph) - (name.startswith("_"))
            title = f"{name}/" if name.startswith("_") and files != 0 else name
            below = ", ".join(sorted(_needed(name, rooms))) or "nothing of ours"
            lines.append(f"{title:<16} {files:>2}  {below}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _needed(name: str, rooms: Graph) -> set[str]:
    """Return the rooms that a room imports from and that it does not reach by another one."""
    by_others = {far for near in rooms[name] for far in _reach(near, rooms)}
    return rooms[name] - by_others


def _reach(name: str, rooms: Graph) -> set[str]:
    return rooms[name].union(*(_reach(other, rooms) for other in rooms[name]))


if __name__ == "__main__":
    drawing = draw(arrows(modules(), types=False))
    if "--write" in sys.argv[1:]:
        PAGE.write_text(BLOCK.sub(lambda _: drawing, PAGE.read_text(encoding="utf-8")), "utf-8")
    else:
        print(drawing, end="")
