"""The command line: ``python -m olora_viz VERB``, one verb per subcommand."""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from olora_viz.cli import check, claims, decide, lists, measure, race, run, serve, start, study
from olora_viz.cli.console import BAD_INPUT, EXIT_FAILED, INTERRUPTED, out_of_memory, unexpected
from olora_viz.machine.version import __version__, without

# Python looks for cycles among all objects of all libraries while they are loaded, a fifth of the time to the first
# step of a race, and again at its end: over a second.
gc.set_threshold(10_000)


@atexit.register
def _look_for_no_cycles() -> None:
    """Spare the search at the end, unless Triton is loaded, whose bindings print what is not collected as leaks."""
    if "triton" not in sys.modules:
        gc.freeze()


IN_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""The errors that only writing has: a full disk, a quota, a limit of a file's size, a disk that is read-only."""

SCRIPT = "olora-viz"
"""The command that an installation of the package brings, for ``python -m olora_viz``."""


class _Parser(argparse.ArgumentParser):
    """A parser whose error message is one sentence, and whose options may be added when they are needed."""

    add_options: Callable[[argparse.ArgumentParser], None] | None = None

    def whole(self) -> _Parser:
        """Return it with all its options."""
        add, self.add_options = self.add_options, None
        if add:
            add(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super(_Parser, self.whole()).parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code: 0, 1 if it fails, 2 for bad input, 130 if interrupted."""
    options = argparse.Namespace()
    try:
        options = _parser().parse_args(arguments)
        return options.run(options)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        return _failed(_sentence(error), BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (sentence := without(error)):
            return _failed(sentence, BAD_INPUT)
        from olora_viz.machine.devices import lacked_operation
        from olora_viz.machine.memory import is_out_of_memory

        if is_out_of_memory(error):
            return _failed(out_of_memory(options), EXIT_FAILED)
        if lacked := lacked_operation(error):
            return _failed(lacked, EXIT_FAILED)
        given = sys.argv[1:] if arguments is None else arguments
        return _failed(unexpected(error, given), EXIT_FAILED)


def _failed(sentence: str, code: int) -> int:
    """Print why a verb has failed; return the exit code."""
    print(f"error: {sentence}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    installed = Path(sys.argv[0]).stem == SCRIPT
    parser = _Parser(
        prog=SCRIPT if installed else "python -m olora_viz", description="The playground for low-rank adaptation."
    )
    parser.add_argument("--version", action="version", version=f"olora_viz {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)

    def verb(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        add_options: Callable[[argparse.ArgumentParser], None] | None = None,
    ) -> _Parser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        added.add_options = add_options
        added.add_argument("--json", action="store_true", help="JSON only, one object per line")
        return added

    for module in (lists, race, study, decide, claims, start, run, measure, check):
        module.add_verbs(verb)
    serve.add_verbs(verb, _serve, _write_site)
    return parser


def _serve(*arguments: Any, **options: Any) -> None:
    """Serve the pages, see `web.page.serve`: only the verbs that show them load them."""
    from olora_viz.machine.files import use_writable_caches

    use_writable_caches()  # before anything of the hub's, which reads HF_HOME, is loaded
    from olora_viz.web.page import serve

    serve(*arguments, **options)


def _write_site(*arguments: Any, **options: Any) -> dict[str, Any]:
    """Write the pages as files, see `web.site.write.write_site`, likewise."""
    from olora_viz.machine.files import use_writable_caches

    use_writable_caches()
    from olora_viz.web.site.write import write_site

    return write_site(*arguments, **options)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        if error.filename and error.errno in IN_WRITING:  # of a copy's two files the first is read
            return f"cannot write {(error.filename2 or error.filename)!r}: {os.strerror(error.errno)}"
        where = f" {error.filename!r}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
