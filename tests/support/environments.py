"""Environments as users make them: a Python, and what an installer brings into it, nothing else.

``python tests/support/environments.py FOLDER ARGUMENT …`` installs into an environment that exists.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]

VERSIONS = ("3.11", "3.12", "3.13")
"""The versions of Python that the package is for."""

SPACES = (ROOT / "README.md").read_text(encoding="utf-8").split('python_version: "')[1].partition('"')[0]
"""The version that a Space has."""

LIKE_PIP = {
    "find-links": "UV_FIND_LINKS", "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX", "constraint": "UV_CONSTRAINT",
}  # fmt: skip
"""Settings of pip, and the variables by which uv looks where pip is told to look."""


REQUIREMENTS = ("-r", str(ROOT / "requirements.txt"))
"""What the README's first command installs, and a Space."""


def checkout(folder: Path) -> Path:
    """Copy the files that git knows, as a clone has them; return the folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # one that was deleted may not be committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def wheel(checkout: Path, folder: Path) -> Path:
    """Build a wheel of a checkout; return its file."""
    uv("build", "--wheel", "-o", str(folder), str(checkout))
    (file,) = folder.glob("*.whl")
    return file


def environment(folder: Path, python: Path | str, *arguments: str) -> Path:
    """Make an environment of a Python and of what pip's arguments ask for; return its Python."""
    subprocess.run([str(python), "-m", "venv", "--without-pip", str(folder)], check=True)
    install(folder / "bin" / "python", *arguments)
    if Path(python) == Path(sys.executable):
        share_compiled(folder)
    return folder / "bin" / "python"


def share_compiled(folder: Path) -> None:
    """Give an environment of this Python what was compiled here of the same files: to compile them takes ten seconds.

    Python looks at the size and the time of a source, and compiles again what was compiled from another one.
    """
    here = Path(sysconfig.get_path("purelib"))
    there = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for compiled in here.rglob(f"__pycache__/*.{sys.implementation.cache_tag}.pyc"):
        place = there / compiled.relative_to(here)
        if place.parent.with_name(f"{compiled.name.partition('.')[0]}.py").exists():
            place.parent.mkdir(exist_ok=True)
            try:
                place.hardlink_to(compiled)
            except OSError:  # it is there, or on another disk
                shutil.copy(compiled, place)


def walk(python: Path, inside: Path, folder: Path, *length: str, **variables: str) -> str:
    """Walk through the verbs with a Python that starts in a folder; return the table.

    Args:
        folder: what the verbs write comes into it; it is the user's home.
        length: an option of `walk.py`.
        variables: more of the environment.
    """
    script = ROOT / "tests" / "support" / "walk.py"
    home = {"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [str(python), str(script), str(folder), *length]
    done = subprocess.run(command, cwd=inside, env=home | variables, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(python: Path, *arguments: str) -> None:
    """Install what pip's arguments ask for."""
    uv("pip", "install", "-p", str(python), *arguments)


def uv(*arguments: str) -> None:
    """Run uv, which takes a third of pip's time, so that it looks where pip is told to look."""
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    like_pip = {}
    for line in asked.stdout.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in LIKE_PIP:
            like_pip[LIKE_PIP[name]] = value.strip("'")
    program = str(Path(sys.executable).with_name("uv"))
    subprocess.run([program, "-q", *arguments], env=like_pip | os.environ, check=True, cwd=ROOT)


def pythons() -> dict[str, Path]:
    """Return the Pythons of this machine by version, of those that the package is for."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": Path(sys.executable)}
    for version in VERSIONS:
        places = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        on_path = shutil.which(f"python{version}")
        for place in [*places, *([Path(on_path)] if on_path else [])]:
            if version in found:
                break
            asked = [str(place), "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
            told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            if told == version:
                found[version] = place
    return {version: found[version] for version in VERSIONS if version in found}


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve() / "bin" / "python", *sys.argv[2:])
