"""What travels to a machine that lacks it: zips of modules, by hash.

Two kinds. aplex itself, and cloudpickle, for a process of a cluster that has neither, or other
versions (`own_packages`): a launcher brings it there, before `aplex.worker` is started. And the
modules of the user's program (`Modules`): the back end sends them with the `Welcome`, and the
worker finds them before its initializer runs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.resources
import io
import zipfile
from collections.abc import Iterator
from importlib import metadata
from typing import Any, NamedTuple


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
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(files):
            archive.writestr(zipfile.ZipInfo(path), files[path], zipfile.ZIP_DEFLATED)
    data = whole.getvalue()
    return Shipment(hashlib.sha256(data).hexdigest(), data)


def _files(folder: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry
