"""Views of modules, which is what the modules of aplex get when they import one."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

PACKAGE = "aplex"
PLUGIN = f"{PACKAGE}._testing.plugin"
"""What pytest loads before anything of ours; it asks for nothing of any system."""


class View(ModuleType):
    """A module in which names are missing, or are others. The rest is read and set in the real one.

    Tests patch the real one.
    """

    def __init__(
        self, real: ModuleType, missing: Iterable[str] = (), others: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(real.__name__, real.__doc__)
        vars(self)["_real"] = real
        vars(self)["_missing"] = frozenset(missing)
        vars(self).update(others or {})

    def __getattr__(self, name: str) -> Any:
        if name in vars(self)["_missing"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} (emulated)")
        return getattr(vars(self)["_real"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_real"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(vars(self)["_real"], name)


def names_of(module: ModuleType, *beginnings: str) -> set[str]:
    """Return the names in a module that begin so."""
    return {name for name in dir(module) if name.startswith(beginnings)}


class Loader:
    """Loads a module of aplex as another loader does, but for what its ``import`` finds.

    The other one may load other modules too, as that of pytest does.
    """

    def __init__(self, real: Any, find: Callable[..., ModuleType]) -> None:
        self._real = real
        self._find = find

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to the other loader."""
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give it other builtins, and run it."""
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": self._find}
        self._real.exec_module(module)


class Importer:
    """Has the modules of aplex import views instead of the real modules."""

    def __init__(self, views: Mapping[str, ModuleType], missing: frozenset[str]) -> None:
        """Hold views.

        Args:
            views: By the names of the modules. May name one that does not exist here.
            missing: Modules that do not exist there.
        """
        self._views = views
        self._missing = missing

    def come_first(self) -> None:
        """Begin; nothing of aplex was imported yet, but for its plugin of pytest."""
        early = {name for name in sys.modules if name.partition(".")[0] == PACKAGE}
        late = early - {PACKAGE, f"{PACKAGE}._testing", PLUGIN}
        assert not late, f"too late: aplex was imported: {sorted(late)}"
        finders: list[Any] = [finder for finder in sys.meta_path if finder is not self]
        sys.meta_path[:] = [self, *finders]  # type: ignore[list-item]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module of aplex; its loader gives it other builtins."""
        if name.partition(".")[0] != PACKAGE:
            return None
        for finder in sys.meta_path:
            find: Callable[..., Any] | None = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                spec.loader = Loader(spec.loader, self._import)  # type: ignore[assignment]
                return spec
        return None

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - its name there
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        names = {name, *(f"{name}.{each}" for each in fromlist or ())}
        if level == 0 and not names.isdisjoint(self._missing):
            raise ModuleNotFoundError(f"no such module (emulated): {names & self._missing}")
        if name in self._views and name not in sys.modules and not _exists(name):
            return self._views[name]
        real = builtins.__import__(name, globals, locals, fromlist or (), level)
        if level:
            return real
        return self._views.get(name if fromlist else name.partition(".")[0], real)


def _exists(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
