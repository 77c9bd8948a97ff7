"""What is said of the options of an executor on Ray, without any cluster."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest

import aplex.ray
from aplex import RayAsyncPoolExecutor
from aplex.typing import RayOptions


def test_every_option_is_a_parameter_with_its_default() -> None:
    parameters = inspect.signature(RayAsyncPoolExecutor).parameters
    assert set(parameters) == {"address", "pool_size", "awaitable", *RayOptions.__optional_keys__}
    assert all(parameter.default is not parameter.empty for parameter in parameters.values())
    hints = get_type_hints(RayAsyncPoolExecutor.__init__)
    for name, hint in get_type_hints(RayOptions).items():
        assert hints[name] == hint, name


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aplex.ray, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'aplex\[ray\]'"):
        RayAsyncPoolExecutor()


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"address": None}, TypeError, "address must be a str, not None"),
        ({"num_cpus": "1"}, TypeError, "num_cpus must be a number or None, not '1'"),
        ({"num_gpus": -1}, ValueError, "num_gpus must be at least 0, got -1"),
        ({"memory": True}, TypeError, "memory must be a number or None, not True"),
        ({"resources": ["a"]}, TypeError, "resources must be a mapping or None"),
        ({"runtime_env": "pip"}, TypeError, "runtime_env must be a mapping or None"),
        ({"namespace": 1}, TypeError, "namespace must be a str, not 1"),
        ({"listen": ""}, ValueError, "listen must be"),
        ({"port": 70_000}, ValueError, "port must be from 0 to 65535"),
    ],
)
def test_bad_options_are_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    monkeypatch.setattr(aplex.ray, "find_spec", lambda name: name)
    with pytest.raises(kind, match=said):
        RayAsyncPoolExecutor(**options)
