"""Uses aplex as it was installed from a wheel. Run by `dev.py check`, with `-I`."""

import asyncio
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import aplex


async def doubled(number: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * number


def main() -> None:
    package = Path(aplex.__file__).parent
    assert "site-packages" in package.parts, package
    assert (package / "py.typed").is_file()
    assert version("aplex") == aplex.__version__
    with aplex.ProcessAsyncPoolExecutor(2) as pool:
        assert list(pool.map(doubled, range(20))) == [2 * n for n in range(20)]
        assert pool.submit(pow, 2, 10).result() == 1024
    (command,) = entry_points(group="console_scripts", name="aplex")
    shell = Path(sys.executable).parent / command.name
    told = subprocess.run([shell, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"aplex {aplex.__version__}\n"
    print(f"aplex {aplex.__version__} from a wheel: well")


if __name__ == "__main__":
    main()
