"""Which modules travel to remote workers, and how they arrive."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aplex import RemoteAsyncPoolExecutor, SerializationError
from aplex._backends.remote import shipping
from aplex._backends.remote.shipping import Modules, Shipment, own_packages
from tests.support.remote_workers import COMMAND


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module, a package and a namespace, which are loaded."""
    files = {
        "ship_one.py": "def where(): return __file__\n",
        "ship_package/__init__.py": "",
        "ship_package/inner.py": "",
        "ship_package/no_init/deep.py": "def where(): return __file__\n",
        "ship_package/unloaded.py": "",
        "ship_package/data.txt": "data",
        "ship_package/compiled.so": "machine code",
        "ship_package/__pycache__/x.pyc": "",
        "ship_space/part.py": "",
        "ship_space/other.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    names = ["ship_one", "ship_package", "ship_package.inner", "ship_space", "ship_space.part"]
    loaded = set(sys.modules)
    for name in names:
        importlib.import_module(name)
    yield tmp_path
    for name in set(sys.modules) - loaded:
        if name.startswith("ship_"):
            del sys.modules[name]


def names_in(shipment: Shipment | None) -> set[str]:
    assert shipment is not None
    with zipfile.ZipFile(io.BytesIO(shipment.data)) as archive:
        return {name for name in archive.namelist() if name[-1] != "/"}


def test_what_is_loaded_travels_packages_as_a_whole(program: Path) -> None:
    names = names_in(Modules("auto").shipment())
    assert {name for name in names if name.startswith("ship_")} == {
        *("ship_one.py", "ship_package/__init__.py", "ship_package/inner.py"),
        *("ship_package/unloaded.py", "ship_package/data.txt", "ship_space/part.py"),
        "ship_package/no_init/deep.py",
    }
    assert not any(name.startswith(("aplex/", "pytest/", "json/")) for name in names)


def test_what_is_named_travels_and_nothing_else(program: Path) -> None:
    assert names_in(Modules(["ship_one"]).shipment()) == {"ship_one.py"}
    assert Modules(None).shipment() is None
    assert Modules([]).shipment() is None


def test_the_same_modules_have_the_same_hash(program: Path) -> None:
    one, other = (Modules(["ship_package"]).shipment() for _ in range(2))
    assert one == other


def test_what_is_too_big_stays_here(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "MOST", 2)
    with pytest.raises(ValueError, match="ship_one"):
        Modules(["ship_one"]).shipment()


def test_aplex_itself_can_travel(tmp_path: Path) -> None:
    names = names_in(own_packages())
    assert {"aplex/worker.py", "aplex/_agent/agent.py", "cloudpickle/cloudpickle.py"} <= names
    assert any(name.startswith("cloudpickle-") for name in names)


def test_a_worker_finds_what_has_travelled_before_all_else(program: Path) -> None:
    import ship_one
    from ship_package.no_init import deep

    with RemoteAsyncPoolExecutor(COMMAND, initializer=ship_one.where) as pool:
        assert pool.submit(ship_one.where).result(10).startswith("/proc/")
        assert pool.submit(deep.where).result(10).startswith("/proc/")


def test_what_has_not_travelled_is_named_with_the_cure(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ship_one

    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(program)])
    with RemoteAsyncPoolExecutor(COMMAND, ship=None) as pool:
        error = pool.submit(ship_one.where).exception(10)
    assert isinstance(error, SerializationError)
    assert "ship_one" in str(error)
    assert "ship=" in str(error)
