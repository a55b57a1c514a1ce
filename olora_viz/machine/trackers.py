"""Experiment trackers behind one adapter: runs of a project, with their numbers and tables."""

from __future__ import annotations

import contextvars
import hashlib
import os
import re
import shlex
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from olora_viz.machine.checks import unknown

SERVER_TIMEOUT = 60.0
"""Maximum time that a server may take to accept a run, or what is left of it at its end."""


class TrackedRun(Protocol):
    """One run in a tracker."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Report numbers of a step."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Report a table, whose rows have the same keys."""

    def close(self) -> None:
        """Report what is left, and close the run."""


class Project(Protocol):
    """Where a tracker keeps the runs of one folder."""

    where: str
    """How to see them."""

    def start(self, name: str, group: str, config: dict[str, Any], again: bool) -> TrackedRun:
        """Start a run, or continue the one of that name `again`, if there is one."""
        ...


class Tracker:
    """Reports to one tracker; if that fails it is said once, and nothing more is reported.

    Args:
        name: a key of `TRACKERS`.
        folder: of what is reported; the project is called like it.
        say: called with what the user should know.

    Raises:
        ValueError: the name is unknown, or the tracker is not installed or set up.
    """

    def __init__(self, name: str, folder: Path, say: Callable[[str], object]) -> None:
        if name not in TRACKERS:
            raise ValueError(unknown("tracker", name, TRACKERS))
        self.name, self._say = name, say
        self.has_failed = False
        self._sentences: set[str] = set()
        folder = folder.absolute()
        project = re.sub(r"[^\w.-]+", "-", folder.name)[:100] or "olora_viz"
        try:
            self._project = TRACKERS[name](folder, project)
        except ImportError as error:
            why = f"cannot be imported ({error})" if find_spec(name) else "is not installed"
            raise ValueError(f"--track {name} needs the package {name}, which {why}: pip install {name}") from None
        say(f"reports to {name}: {self._project.where}")

    def start(self, name: str, group: str, config: dict[str, Any], *, again: bool = False) -> TrackedRun:
        """Start a run, see `Project.start`; call it within `attempt`."""
        return self._project.start(name, group, config, again)

    def attempt(self, report: Callable[[], object]) -> None:
        """Report something, unless that has failed before.

        What a tracker prints does not belong into results, and what it warns of is said once.
        """
        if self.has_failed:
            return
        try:
            with redirect_stdout(StringIO()), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                report()
            sentences = {_line(warning.message) for warning in caught if warning.category is UserWarning}
        except Exception as error:  # whatever it is, no result depends on it
            self.has_failed = True
            sentences = {f"reports nothing more, since it failed: {_line(error)}"}
        for sentence in sentences - self._sentences:
            self._say(f"{self.name}: {sentence}")
        self._sentences |= sentences


class _Trackio:
    """Trackio, which keeps everything on this machine."""

    def __init__(self, folder: Path, project: str) -> None:
        import trackio

        self._trackio, self._folder, self._project = trackio, folder, project
        self.where = f"trackio show --project {shlex.quote(project)}"

    def start(self, name: str, group: str, config: dict[str, Any], again: bool) -> TrackedRun:
        # Trackio ends the run that is current, which is so within a context only.
        run = contextvars.copy_context().run(
            self._trackio.init, project=self._project, name=name, group=group, embed=False,
            auto_log_cpu=False, auto_log_gpu=False, resume="allow" if again else "never",
            config={**config, "folder": str(self._folder)},
        )  # fmt: skip
        table: Any = self._trackio.Table
        return _LoggedRun(run, lambda rows: table(data=list(rows)))


class _Wandb:
    """Weights & Biases, offline unless there is an API key or a mode is set."""

    def __init__(self, folder: Path, project: str) -> None:
        # Else it reports on itself, also offline.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._wandb, self._folder, self._project = wandb, folder, project
        # Of this machine and its code nothing is sent but what is reported.
        self._settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, symlink=False, x_disable_meta=True,
            x_disable_machine_info=True, x_disable_stats=True, x_save_requirements=False, init_timeout=SERVER_TIMEOUT,
            finish_timeout=SERVER_TIMEOUT, finish_timeout_raises=True,
        )  # fmt: skip
        self._mode = self._checked_mode()
        files = folder / "wandb"
        self.where = f"the project {project!r} of your account"
        if self._is_offline:
            sync = f"wandb sync {shlex.quote(str(files))}/offline-run-*"
            self.where = f"offline, into {str(files)!r}; to send it, {sync}"

    def _checked_mode(self) -> Any:
        """Return the mode that is set, else offline without an API key; ValueError if nothing would be reported."""
        mode = self._wandb.setup(settings=self._settings).settings.mode
        if mode == "disabled":
            raise ValueError("--track wandb would report nothing, since WANDB_MODE is disabled")
        if mode != "online" or self._wandb.login(prompt=False, verify=False):
            return mode
        if "WANDB_MODE" in os.environ:
            raise ValueError("WANDB_MODE is online, but there is no API key: wandb login, or WANDB_MODE=offline")
        return "offline"

    @property
    def _is_offline(self) -> bool:
        return self._mode in ("offline", "dryrun")

    def start(self, name: str, group: str, config: dict[str, Any], again: bool) -> TrackedRun:
        self._folder.mkdir(parents=True, exist_ok=True)
        named = again and not self._is_offline
        run = self._wandb.init(
            project=self._project, name=name, group=group, config=config, dir=str(self._folder),
            mode=self._mode, settings=self._settings, reinit="create_new",
            id=_short(name) if named else None, resume="allow" if named else None,
        )  # fmt: skip
        return _LoggedRun(run, self._table)

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        columns: Any = list(rows[0]) if rows else []
        data: Any = [[row[column] for column in columns] for row in rows]
        return self._wandb.Table(columns, data, allow_mixed_types=True)


class _LoggedRun:
    """A run whose tables are logged as its numbers are, in trackio and in Weights & Biases."""

    def __init__(self, run: Any, table_of: Callable[[Sequence[Mapping[str, Any]]], Any]) -> None:
        self._run, self._table_of = run, table_of

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._run.log({name: self._table_of(rows)})

    def close(self) -> None:
        self._run.finish()


class _TensorBoard:
    """TensorBoard: files of events below the folder, one folder for each run."""

    def __init__(self, folder: Path, project: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer, self._files = SummaryWriter, folder / "tensorboard"
        self.where = f"tensorboard --logdir {shlex.quote(str(self._files))}"

    def start(self, name: str, group: str, config: dict[str, Any], again: bool) -> TrackedRun:
        files = self._files / _file_name(name)
        if not again:
            shutil.rmtree(files, ignore_errors=True)  # of a report that has failed
        return _TensorBoardRun(self._writer(str(files)), config)


class _TensorBoardRun:
    def __init__(self, writer: Any, config: Mapping[str, Any]) -> None:
        self._writer = writer
        writer.add_text("config", _markdown([config]))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._writer.add_text(name, _markdown(rows))

    def close(self) -> None:
        self._writer.close()


def _line(message: object) -> str:
    return " ".join(str(message).split()) or type(message).__name__


def _file_name(name: str) -> str:
    """Return a run's name as that of a folder, different for different names.

    >>> _file_name("addition r8"), _file_name("my/file r8")
    ('addition r8', 'my-file r8 841f581c')
    """
    plain = re.sub(r"[^\w .,=@+-]+", "-", name)[:100]
    return plain if plain == name else f"{plain} {_short(name)[:8]}"


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table in Markdown, which TensorBoard draws.

    >>> print(_markdown([{"init": "lora", "interval": [0, 1]}]))
    | init | interval |
    |---|---|
    | lora | [0, 1] |
    """
    columns = list(rows[0]) if rows else []
    cells = [[str(row[column]).replace("|", "\\|") for column in columns] for row in rows]
    head, *body = [f"| {' | '.join(line)} |" for line in (columns, *cells)]
    return "\n".join([head, "|---" * len(columns) + "|", *body])


TRACKERS: dict[str, Callable[[Path, str], Project]] = {
    "trackio": _Trackio,
    "wandb": _Wandb,
    "tensorboard": _TensorBoard,
}
"""How to open a project, by the name of the tracker, which is also that of its package."""
