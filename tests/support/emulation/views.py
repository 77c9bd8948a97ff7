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

    def install(self) -> None:
        """Begin; nothing of aplex was imported yet."""
        assert PACKAGE not in sys.modules, "too late: aplex was imported"
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]

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
                loader: Any = spec.loader
                run = loader.exec_module

                def exec_module(module: ModuleType, run: Any = run) -> None:
                    vars(module)["__builtins__"] = vars(builtins) | {"__import__": self._import}
                    run(module)

                loader.exec_module = exec_module
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
