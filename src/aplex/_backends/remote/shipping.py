"""What travels to a machine that lacks it: zips of modules, by hash.

Two kinds. aplex itself, and cloudpickle, for a process of a cluster that has neither, or other
versions (`own_packages`): a launcher brings it there, before `aplex.worker` is started. And the
modules of the user's program (`Modules`): the back end sends them with the `Welcome`, and the
worker finds them before its initializer runs.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.resources
import importlib.util
import io
import logging
import os
import site
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NamedTuple

MOST: Final = 32 * 2**20
"""Bytes that all modules may have together."""
_OURS: Final = {"aplex", "cloudpickle", "__main__", "__mp_main__"}
_COMPILED: Final = (".so", ".pyd", ".pyc", ".dylib")
_log = logging.getLogger("aplex")


class Shipment(NamedTuple):
    """Modules.

    Attributes:
        digest: Of the data: what has the same one is the same.
        data: A zip, which can be put on ``sys.path``.
    """

    digest: str
    data: bytes


def own_packages() -> Shipment:
    """Return what a worker needs to run at all: this aplex, and this cloudpickle."""
    files: dict[str, bytes] = {}
    for name in ("aplex", "cloudpickle"):
        importlib.import_module(name)
        for path, file in _files(importlib.resources.files(name), f"{name}/"):
            if not path.endswith((".pyc", ".so")):
                files[path] = file.read_bytes()
    version = metadata.version("cloudpickle")
    about = f"Metadata-Version: 2.1\nName: cloudpickle\nVersion: {version}\n"
    files[f"cloudpickle-{version}.dist-info/METADATA"] = about.encode()
    return pack(files)


def pack(files: dict[str, bytes]) -> Shipment:
    """Return files as a zip; the same files make the same zip.

    Args:
        files: By their path in it.
    """
    # Only by an entry of its own a folder without ``__init__.py`` is a namespace.
    folders = {f"{folder.as_posix()}/": b"" for path in files for folder in _above(path)}
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path, data in sorted((folders | files).items()):
            archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
    archived = whole.getvalue()
    return Shipment(hashlib.sha256(archived).hexdigest(), archived)


def _above(path: str) -> list[PurePosixPath]:
    return list(PurePosixPath(path).parents)[:-1]


def _files(folder: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


class Modules:
    """Which modules of the program travel to the workers."""

    def __init__(self, ship: Literal["auto"] | Sequence[str] | None) -> None:
        """Check what is wanted; read nothing yet.

        Args:
            ship: ``"auto"``: all that are loaded, from elsewhere than where packages are installed;
                or the names of some, with all that is in them; or none.

        Raises:
            TypeError: It is something else.
            ValueError: There is no module of such a name, or it is no source that can travel.
        """
        self._auto = ship == "auto"
        if isinstance(ship, str) and not self._auto:
            raise TypeError(f"ship must be 'auto', a list of names of modules, or None: {ship!r}")
        self._names = () if ship is None or isinstance(ship, str) else tuple(ship)
        self._known: tuple[frozenset[str], Shipment | None] = (frozenset(), None)
        for name in self._names:
            if not isinstance(name, str):
                raise TypeError(f"ship must have names of modules, not {name!r}")
            _source(name)

    def shipment(self) -> Shipment | None:
        """Return what is to travel, as it is now. Reads files.

        Raises:
            ValueError: It is too big.
        """
        names = frozenset(_loaded() if self._auto else self._names)
        if names != self._known[0]:
            self._known = names, self._packed(names)
        return self._known[1]

    def _packed(self, names: frozenset[str]) -> Shipment | None:
        files: dict[str, bytes] = {}
        size = 0
        for name in sorted(names):
            try:
                own = dict(_read(name))
            except (OSError, ValueError):
                if not self._auto:
                    raise
                continue  # it was loaded from what is gone now
            size += sum(map(len, own.values()))
            if size > MOST:
                said = f"modules that travel to the workers have more than {MOST >> 20} MiB"
                if not self._auto:
                    raise ValueError(f"{said}: {', '.join(self._names)}")
                _log.warning("%s: %s stays here; name those that matter by ship=", said, name)
                size -= sum(map(len, own.values()))
                continue
            files.update(own)
        return pack(files) if files else None


NONE: Final = Modules(None)


def _loaded() -> Iterator[str]:
    """Yield modules of the program that are loaded: packages as a whole, where they are one."""
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top in _OURS or not name.replace(".", "").isidentifier():
            continue
        if not _is_of_the_program(getattr(module, "__file__", None)):
            continue
        file = getattr(sys.modules.get(top), "__file__", None)
        # What a namespace has besides may be other people's.
        yield top if _is_of_the_program(file) else name


def _is_of_the_program(file: Any) -> bool:
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    path = Path(file)
    if not path.is_absolute() or not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        return False
    if not path.is_file():  # in a zip, or gone
        return False
    return not os.path.realpath(file).startswith(_installed())


@functools.cache
def _installed() -> tuple[str, ...]:
    """Return where installed modules are, each with a separator at its end."""
    wanted = (sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))
    folders = {*wanted, *site.getsitepackages(), site.getusersitepackages()}
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


def _source(name: str) -> Path:
    """Return the file of a module, or the folder of a package.

    Raises:
        ValueError: There is none.
    """
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    try:
        spec = importlib.util.find_spec(name) if file is None else None
    except (ImportError, ValueError):
        spec = None
    place = file or (spec.origin if spec is not None else None)
    if not isinstance(place, str) or not place.endswith(".py") or not Path(place).is_file():
        raise ValueError(f"ship: there is no source of a module {name!r}")
    path = Path(place)
    return path.parent if path.name == "__init__.py" else path


def _read(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a module by their paths in a zip."""
    source, place = _source(name), name.replace(".", "/")
    if not source.is_dir():
        yield f"{place}.py", source.read_bytes()
        return
    for folder, folders, files in os.walk(source):
        folders[:] = [one for one in folders if one != "__pycache__" and one[0] != "."]
        inner = Path(folder).relative_to(source).as_posix()
        for file in files:
            if not file.endswith(_COMPILED) and file[0] != ".":
                path = f"{place}/{file}" if inner == "." else f"{place}/{inner}/{file}"
                yield path, (Path(folder) / file).read_bytes()
