"""One virtual environment per requirements file, made when it is first needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"


class NotInstalled(Exception):
    """An environment that could not be made; the message is the first error that the installer said."""


def _run(*command: str | Path, seconds: float) -> None:
    try:
        subprocess.run(command, check=True, timeout=seconds, capture_output=True, text=True)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"installation took more than {seconds:.0f} s") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines()
        errors = [line for line in said if line.startswith("ERROR")]
        raise NotInstalled(f"installation failed: {(errors or said or [error])[0]}") from error


def interpreter(name: str | None, root: Path, *, seconds: float = 1200) -> Path:
    """The Python of the environment `root/name` with what `requirements/name.txt` says, made now if it is not there.

    Args:
        name: of the requirements file; None is the running interpreter.
        root: directory of the environments.
        seconds: how long the installation may take.

    Raises:
        NotInstalled: it could not be made.
    """
    if name is None:
        return Path(sys.executable)
    wanted = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    directory = root / name
    python, installed = directory / "bin" / "python", directory / ".installed"
    if not (python.exists() and installed.exists() and installed.read_text(encoding="utf-8") == wanted):
        print(f"installing {directory}", flush=True)
        _run(sys.executable, "-m", "venv", "--clear", directory, seconds=120)
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        _run(*pip, "-r", REQUIREMENTS / f"{name}.txt", seconds=seconds)
        installed.write_text(wanted, encoding="utf-8")
    return python
