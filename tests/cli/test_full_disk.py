"""A disk that takes no more: whatever a verb was writing is named in the one sentence with which it ends."""

import resource
import signal
from pathlib import Path

import pytest
from reliability.victims import Say, apart
from support.tiny import tiny, tiny_tokenizer
from support.verbs import RACE, run

from olora_viz.web.site import pages, write

STUDY = (
    "study --task addition --lr 1e-3 --seeds 1 --steps 1 --batch-size 4 --eval-size 4 --test-size 4 --r 2 --threads 1"
).split()
VERBS = {
    "start": ("start", "--model", "{model}", "--r", "2", "--out", "{out}"),
    "race": (*RACE, "--lane", "olora:r=2", "--run", "{out}"),
    "study": (*STUDY, "--out", "{out}"),
    "export": ("export", "{run}", "--lane", "olora", "--out", "{out}"),
    "site": ("site", "{out}"),
    "report": ("inspect", "{adapter}", "--model", "{model}", "--html", "{out}"),
}
LIMITS = {"start": (0, 300, 5_000), "race": (0, 5_000), "study": (0, 900), "export": (0, 3_000)}
"""How large a file may be, in bytes: the larger the limit, the later what cannot be written."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("full")
    tiny("llama").save_pretrained(home / "model")
    tiny_tokenizer().save_pretrained(home / "model")
    assert run(*RACE, "--lane", "olora:r=2", "--run", str(home / "run")).returncode == 0
    assert run(*(each.format(model=home / "model", out=home / "adapter") for each in VERBS["start"])).returncode == 0
    return {name: str(home / name) for name in ("model", "run", "adapter")}


@pytest.mark.parametrize("verb", VERBS)
def test_what_could_not_be_written_is_named(
    verb: str, folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A site's pages are drawn before the first file is written, and take most of a minute.
    monkeypatch.setattr(write, "GALLERY", {})
    monkeypatch.setattr(pages, "spectrum_pages", lambda *_: [])
    for number, limit in enumerate(LIMITS.get(verb, (0,))):
        out = tmp_path / f"out{number}"
        arguments = [each.format(out=out, **folders) for each in VERBS[verb]]

        def limited(say: Say, limit: int = limit, arguments: list[str] = arguments) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            done = run(*arguments)
            say(f"{done.returncode} {done.stderr.strip().splitlines()[-1]}")

        said = apart(limited, tmp_path / "tmp").strip()
        assert said.startswith(f"2 error: cannot write '{out}"), said
        assert "File too large" in said, said
        assert ".partial" not in said, said
