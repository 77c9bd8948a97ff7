"""The error of a module that needs a library which is not there. A leaf."""


def missing(name: str, error: ImportError) -> ImportError:
    """Return the error that names the cure."""
    return ImportError(f"aplex.compat.{name} needs {name}: pip install {name} ({error})")
