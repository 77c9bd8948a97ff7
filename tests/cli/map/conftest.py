import pytest

from tests.support.shell import Shell


@pytest.fixture
def shell(tmp_path):
    """A folder with the module ``work``, in which `aplex map` is run."""
    return Shell(tmp_path)
