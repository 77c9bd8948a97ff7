"""Exceptions of what checks, parses and computes, as users meet them.

Everything is imported when it is called: what is not installed is told, and skipped.
"""

from __future__ import annotations

from typing import Any

from reliability.raising.case import case


@case(
    "pydantic",
    "error.errors()",
    "error.error_count()",
    "error.title",
    "error.json()",
    "repr(error)",
)
def pydantic_validation(_url: str) -> None:
    import pydantic

    model = pydantic.create_model("Model", number=(int, ...), when=(bool, ...), text=(str, "x"))
    model(number="no", text=[1])


@case("pydantic", "error.errors()[0]['msg']", "error.errors()[0]['type']", "error.title")
def pydantic_custom(_url: str) -> None:
    import pydantic

    def refuse(_value: Any) -> Any:
        raise ValueError("not that one")

    kind: Any = pydantic.TypeAdapter(pydantic_annotated(refuse))
    kind.validate_python(3)


def pydantic_annotated(refuse: Any) -> Any:
    """Return a type with a validator of its own."""
    from typing import Annotated

    import pydantic

    return Annotated[int, pydantic.AfterValidator(refuse)]


@case(
    "jsonschema",
    *("list(error.path)", "list(error.absolute_path)", "error.message", "error.validator"),
    *(
        "error.instance",
        "error.schema",
        "error.context",
        "error.json_path",
        "error.validator_value",
    ),
)
def jsonschema_validation(_url: str) -> None:
    import jsonschema

    jsonschema.validate({"a": ["x"]}, {"properties": {"a": {"items": {"type": "number"}}}})


@case("jsonschema", "list(error.path)", "error.message", "[e.message for e in error.context]")
def jsonschema_any_of(_url: str) -> None:
    import jsonschema

    jsonschema.validate("x", {"anyOf": [{"type": "number"}, {"maxLength": 0}]})


@case("lxml", "error.lineno", "error.position", "error.code", "error.msg", "error.offset")
def lxml_syntax(_url: str) -> None:
    from lxml import etree

    etree.fromstring("<a>\n<b></a>")


@case("lxml", "str(error.error_log)", "error.error_log[0].message", "error.error_log[0].line")
def lxml_invalid(_url: str) -> None:
    from lxml import etree

    schema = etree.DTD(__import__("io").StringIO("<!ELEMENT a EMPTY>"))
    schema.assertValid(etree.fromstring("<b/>"))


@case("pandas", "error.args")
def pandas_key(_url: str) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1]})["missing"]


@case("pandas", "error.args")
def pandas_parser(_url: str) -> None:
    import io

    import pandas as pd

    pd.read_csv(io.StringIO("a,b\n1,2,3,4\n1\n1,2,3,4,5"))


@case("pandas", "error.args")
def pandas_undefined(_url: str) -> None:
    import pandas as pd

    pd.DataFrame({"a": [1]}).query("missing > 1")


@case("pandas", "error.args")
def pandas_bounds(_url: str) -> None:
    import pandas as pd

    pd.Timestamp("9999999-01-01")


@case("numpy", "error.axis", "error.ndim")
def numpy_axis(_url: str) -> None:
    import numpy as np

    np.ones(3).sum(axis=5)


@case("numpy", "error.ufunc", "error.dtypes")
def numpy_ufunc(_url: str) -> None:
    import numpy as np

    np.multiply(np.array(["a"]), np.array([1]))


@case("numpy", "error.shape", "error.dtype")
def numpy_memory(_url: str) -> None:
    import numpy as np

    np.ones(2**50)


@case("numpy")
def numpy_linalg(_url: str) -> None:
    import numpy as np

    np.linalg.inv(np.zeros((2, 2)))
