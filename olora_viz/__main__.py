"""The command line: ``python -m olora_viz VERB``, one verb per subcommand."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from olora_viz.cli import curvature as curvature_commands
from olora_viz.cli import gradients as gradient_commands
from olora_viz.cli import spectra as spectral_commands
from olora_viz.cli.console import leader, print_standing, print_table, progress_bar
from olora_viz.machine.signals import on_interruption

BAD_INPUT = 2
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code: 0, 2 for bad input, 130 where it was interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except BrokenPipeError:  # the reader, `head` for instance, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m olora_viz", description="The playground for low-rank adaptation."
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str) -> _Parser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="JSON only, one object a line")
        return made

    verb("models", _models, "list the models that can be named")
    verb("tasks", _tasks, "list the tasks that can be named")
    verb("initializers", _initializers, "list the ways to start an adapter")

    race = verb("race", _race, "train lanes side by side on the same batches")
    race.add_argument(
        "--resume", type=_path, metavar="DIR", help="go on with the run in this folder"
    )
    race.add_argument("--model", help="a model's name, or a local Hugging Face folder")
    race.add_argument("--task", help="a task's name, or a file of examples")
    race.add_argument(
        "--lane", action="append", metavar="SPEC", help="NAME[:key=value,…]; again for each lane"
    )
    race.add_argument("--steps", type=int, help="number of updates")
    race.add_argument("--batch-size", type=int, help="prompts a step")
    race.add_argument("--max-length", type=int, help="leave out examples of more tokens")
    race.add_argument("--seed", type=int, help="seed of the task and of its order")
    race.add_argument("--batches", help="shared by all lanes, or by-seed: of a lane's seed")
    race.add_argument("--eval-every", type=int, help="steps between evaluations")
    race.add_argument("--spectra-every", type=int, help="steps between looks at the spectra")
    race.add_argument("--curvature-every", type=int, help="steps between looks at the curvature")
    race.add_argument("--gradients-every", type=int, help="steps between looks at the gradients")
    race.add_argument("--eval-size", type=int, help="most held-out examples to evaluate on")
    race.add_argument("--device", help="auto, cpu or cuda")
    race.add_argument("--dtype", help="of the frozen base: float32 or bfloat16")
    race.add_argument("--schedule", help="constant, linear or cosine")
    race.add_argument("--warmup", type=int, help="steps over which learning rates rise")
    race.add_argument(
        "--target", action="append", metavar="NAME", dest="targets", help="ending of a layer's name"
    )
    race.add_argument(
        "--run", type=_path, metavar="DIR", dest="folder", help="keep the run in this folder"
    )

    export = verb("export", _export, "write one lane of a run as an adapter or a whole model")
    export.add_argument("folder", type=_path, metavar="DIR", help="a run folder")
    export.add_argument("--lane", required=True, metavar="NAME", help="label of the lane")
    export.add_argument("--out", type=_path, required=True, metavar="FOLDER", help="a new folder")
    export.add_argument(
        "--form", choices=("lora", "olora", "merged"), default="lora", help="default: lora"
    )
    spectral_commands.add_verbs(verb)
    gradient_commands.add_verbs(verb)
    curvature_commands.add_verbs(verb)
    return parser


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a path must not be empty")
    return Path(text)


def _models(options: argparse.Namespace) -> int:
    from olora_viz.models import MODELS

    return _list(
        options,
        [
            {
                "name": card.name,
                "parameters": card.parameters,
                "context": card.context,
                "offline": card.offline,
                "license": card.license,
                "summary": card.summary,
            }
            for card in MODELS.values()
        ],
    )


def _tasks(options: argparse.Namespace) -> int:
    from olora_viz.tasks import TASKS

    return _list(
        options,
        [
            {
                "name": card.name,
                "offline": card.offline,
                "prompt": card.prompt,
                "answer": card.answer,
                "summary": card.summary,
            }
            for card in TASKS.values()
        ],
    )


def _initializers(options: argparse.Namespace) -> int:
    from olora_viz.initializers import INITIALIZERS

    return _list(
        options,
        [
            {"name": i.name, "label": i.label, "source": i.source, "summary": i.summary}
            for i in INITIALIZERS.values()
        ],
    )


def _race(options: argparse.Namespace) -> int:
    from dataclasses import fields

    from olora_viz.lanes.lane import parse_lanes
    from olora_viz.races import run as runs
    from olora_viz.races.config import RaceConfig
    from olora_viz.races.race import race

    given = {
        field.name: getattr(options, field.name)
        for field in fields(RaceConfig)
        if field.name != "lanes" and getattr(options, field.name) is not None
    }
    if options.resume is not None:
        if given or options.lane or options.folder is not None:
            raise ValueError("--resume takes the set-up from the run folder: give nothing else")
        with progress_bar() as progress:
            source = runs.resume(options.resume, progress=progress)
        racing = source.race
    else:
        if options.targets is not None:
            given["targets"] = tuple(options.targets)
        if options.lane:
            given["lanes"] = tuple(lane for spec in options.lane for lane in parse_lanes(spec))
        config = RaceConfig(**given)
        with progress_bar() as progress:
            if options.folder is not None:
                source = runs.start(config, options.folder, progress=progress)
                racing = source.race
            else:
                source = racing = race(config, progress=progress)
    data = racing.data
    for kind, count in (("training", data.left_out), ("held-out", data.held_out_left_out)):
        if count:
            print(
                f"{count} {kind} examples are longer than {racing.config.max_length} tokens and "
                "were left out",
                file=sys.stderr,
            )
    for fair in racing.fair_rates:
        print(fair.sentence, file=sys.stderr)
    with on_interruption(racing.close):
        _follow(iter(source), racing, options.json)
    summary = racing.summary()
    if options.json:
        print(json.dumps({"summary": summary}, allow_nan=False), flush=True)
    else:
        print_standing(summary)
    return INTERRUPTED if racing.status == "stopped" else 0


def _follow(steps: Any, racing: Any, as_json: bool) -> None:
    """Report every step as it comes."""
    from tqdm import tqdm

    labels = racing.lanes.labels
    bar = tqdm(
        total=racing.config.steps,
        initial=racing.done,
        unit="step",
        file=sys.stderr,
        mininterval=0.2,
    )
    try:
        for step in steps:
            if as_json:
                print(json.dumps(step.to_json(labels), allow_nan=False), flush=True)
            bar.update(step.step - bar.n)
            if step.eval_loss is not None:
                bar.set_postfix_str(leader(step.eval_loss.tolist(), labels), refresh=False)
    finally:
        racing.close()
        steps.close()
        bar.close()


def _export(options: argparse.Namespace) -> int:
    from olora_viz.lanes.merged_format import write_merged
    from olora_viz.lanes.peft_format import write_peft
    from olora_viz.machine.files import is_free
    from olora_viz.machine.naming import unknown
    from olora_viz.races import run as runs

    labels = runs.read_config(options.folder).labels
    if options.lane not in labels:
        raise ValueError(unknown("lane", options.lane, labels))
    out = options.out.resolve()
    if not is_free(out):
        raise ValueError(f"--out {str(options.out)!r} must be new or empty")
    with progress_bar() as progress:
        racing = runs.restored(options.folder, progress=progress)
    k = labels.index(options.lane)
    if options.form == "merged":
        write_merged(racing.lanes, k, racing.tokenizer, out)
    else:
        write_peft(racing.lanes, k, out, form=options.form)
    where = str(options.out)
    written = {"lane": options.lane, "form": options.form, "out": where, "steps": racing.done}
    print(json.dumps(written) if options.json else f"{options.lane} written to {where}")
    return 0


def _list(options: argparse.Namespace, rows: list[dict[str, Any]]) -> int:
    """Print rows as JSON lines, or as a table whose last column may be long."""
    if options.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return 0
    cells = [[_cell(value) for value in row.values()] for row in rows]
    print_table([list(rows[0]), *cells])
    return 0


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename!r}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
