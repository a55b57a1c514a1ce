"""The set-up that a page sent, checked: the only way from a visitor to a race.

Models and tasks come from lists of names, and a visitor's own file is known by a token: a path never comes from a
page.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from olora_viz.lanes.lane import FAIR, Lane, check_count
from olora_viz.lanes.lane_spec import parse_lanes, split_values
from olora_viz.lanes.targets import TARGET_PATTERN
from olora_viz.machine.checks import MOST_WHOLE, Problems, is_empty, unknown, whole, word
from olora_viz.machine.checks import positive_number as number
from olora_viz.machine.wording import counted
from olora_viz.models import MODELS
from olora_viz.races.config import KEPT, RaceConfig, Settings, automatic_interval
from olora_viz.races.fields import FIELDS, RaceField
from olora_viz.tasks import TASKS
from olora_viz.tasks.keep import AUTO, NONE
from olora_viz.tasks.metrics import check_metric
from olora_viz.web.guard.limits import Limits
from olora_viz.web.guard.visitor_files import EXAMPLES, TEXT, TOKEN, FileKind, OwnFiles

MOST_EVALUATIONS = 200
"""Maximum number of evaluations on the held-out examples in a race."""

MOST_OF_REST = 500
"""Maximum characters of the keys of a lane for which the page's table has no column."""

MOST_SAMPLES = 16
"""Answers that a lane draws to a prompt."""

MOST_HELD_OUT = 512
"""Maximum number of held-out examples that they take."""

MOST_TARGETS, LONGEST_TARGET = 20, 80
"""Maximum number of target modules, and of characters in the name of one."""

MAX_LENGTH = 512
"""The longest example of a task from the hub, in tokens; longer ones are left out of the race."""

MOST_LOOKS = 51
"""Maximum number of gradient measurements in a race: the first step, and fifty more."""


def checked_config(
    limits: Limits,
    *,
    model: Any,
    task: Any,
    steps: Any,
    batch: Any,
    lanes: Any,
    curvature: Any = 0,
    seed: Any = 0,
    settings: Any = None,
    files: OwnFiles | None = None,
) -> RaceConfig:
    """Validate the values that a page sent for the fields of a `SetUp`, and return the race.

    Args:
        model: a name.
        task: a name, or the token of a file in `files`, whose path it becomes.
        steps, batch: numbers, or text that reads as one.
        lanes: a list of ``{"init", "r", "alpha", "lr", "seed"}``, see `checked_lanes`.
        curvature: steps between two measurements of the curvature, 0: never.
        seed: of the task and of the order of its examples.
        settings: text or numbers by name, see `checked_settings`.
        files: the visitors' own.

    Raises:
        ValueError: values break rules of the page; the message has a sentence for each.
    """
    wrong = Problems()
    model = wrong.check(_one_of, "model", model, limits.models, instead=limits.models[0])
    path = wrong.check(_named_or_own, "task", task, TASKS, files, EXAMPLES, instead=RaceConfig().task)
    steps, batch, seed = checked_counts(limits, steps, batch, seed, wrong)
    curvature = wrong.check(whole, "steps between curvature measurements", curvature, 0, limits.max_steps, instead=0)
    lanes = wrong.check(_lanes, limits, lanes, instead=RaceConfig().lanes)
    more = checked_settings(steps, settings, wrong)
    keep = wrong.check(_named_or_own, "text to keep", more.keep, KEPT, files, TEXT, instead=NONE)
    wrong.report()
    lanes = tuple(replace(lane, **_unset(lane, more.of_lane())) for lane in lanes)
    config = RaceConfig(
        **more.of_race(steps) | {"keep": keep},
        model=model,
        task=path,
        lanes=lanes,
        steps=steps,
        batch_size=batch,
        seed=seed,
        # What this package brings fits every model; of other examples the longest are left out.
        max_length=None if path in TASKS and TASKS[path].offline else longest_example(model),
        spectra_every=automatic_interval(steps),
        factors_every=automatic_interval(steps),
        gradients_every=math.ceil(steps / (MOST_LOOKS - 1)),
        curvature_every=curvature,
    )
    check_tokens(limits, config)
    return config


def checked_counts(limits: Limits, steps: Any, batch: Any, seed: Any, wrong: Problems) -> tuple[int, int, int]:
    """Validate the numbers of a set-up; keep what is wrong in `wrong`."""
    return (
        wrong.check(whole, "steps", steps, 1, limits.max_steps, instead=1),
        wrong.check(whole, "prompts per step", batch, 1, limits.max_batch, instead=1),
        wrong.check(whole, "seed of the race", seed, 0, MOST_WHOLE, instead=0),
    )


def checked_lanes(limits: Limits, row: Any) -> list[Lane]:
    """Turn one row of the page's table into its lanes.

    As on the command line, a cell or another key may have a list ``1e-3/3e-3``, which makes one lane for each value,
    and lists multiply; seeds may be a range ``0-2``, and the rate may be ``fair``.

    Args:
        row: text or numbers by ``init``, ``r``, ``alpha`` (empty: the rank), ``lr``, ``seed``; in ``rest`` other keys,
            as in a SPEC.

    Raises:
        ValueError: a value breaks a rule; the message is one sentence.
    """
    if not isinstance(row, dict):
        raise ValueError("a lane is a row with init, r, alpha, lr and seed")
    init, rest = word(row.get("init", "")), row.get("rest") or ""
    if not isinstance(rest, str) or len(rest) > MOST_OF_REST:
        raise ValueError(f"other keys of a lane are a text of at most {MOST_OF_REST} characters")
    rest = ",".join(part.strip() for part in rest.split(","))
    others = {part.partition("=")[0] for part in rest.split(",")}
    if owned := [key for key, _ in _CELLS if key in others]:
        raise ValueError(f"{owned[0]} is not among the other keys of a lane: it has a column of its own")
    cells = [_values(key, row.get(key, default)) for key, default in _CELLS]
    plain = parse_lanes(f"{init}:{rest}") if rest else [Lane(init)]
    count = math.prod(map(len, cells)) * len(plain)
    if count > limits.max_lanes:
        raise ValueError(f"its lists make {count} lanes; a race takes at most {limits.max_lanes}")
    return [_lane(limits, lane, *values) for lane in plain for values in itertools.product(*cells)]


def _unset(lane: Lane, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of all lanes that a lane does not set itself."""
    return {key: value for key, value in settings.items() if getattr(lane, key) == getattr(Lane, key)}


def _lanes(limits: Limits, rows: Any) -> tuple[Lane, ...]:
    """Turn the whole table into lanes."""
    rows = rows if isinstance(rows, list) else []
    if len(rows) > limits.max_lanes:
        check_count(len(rows), limits.max_lanes)
    lanes = [lane for row in rows for lane in checked_lanes(limits, row)]
    check_count(len(lanes), limits.max_lanes)
    return tuple(lanes)


def problems(limits: Limits, rows: Iterable[Any]) -> list[str]:
    """Return an error message for every row, "" if the row is valid."""
    sentences = []
    for row in rows:
        try:
            checked_lanes(limits, row)
            sentences.append("")
        except ValueError as error:
            sentences.append(str(error))
    return sentences


_CELLS = (("lr", None), ("r", None), ("alpha", None), ("seed", 0))


def _values(key: str, cell: Any) -> list[Any]:
    if not isinstance(cell, str):
        return [cell]
    if key == "lr" and "," in cell:  # 0,001 or 1e-3, 3e-3
        rule = "a learning rate has a decimal point, and several have / between them, as 1e-3/3e-3"
        raise ValueError(f"{rule}: {cell[:40]!r} has a comma")
    return split_values(key, cell)


def _lane(limits: Limits, plain: Lane, lr: Any, r: Any, alpha: Any, seed: Any) -> Lane:
    fair = isinstance(lr, str) and lr.strip().lower() == FAIR
    if plain.params is not None:
        raise ValueError(f"a lane of the page has a rank, not a number of parameters, as params={plain.params}")
    return replace(
        plain,
        lr=Lane.lr if fair else number("learning rate", lr),
        fair=fair,
        r=whole("rank", r, 1, limits.max_rank),
        alpha=None if is_empty(alpha) else _alpha(alpha),
        seed=whole("seed", seed, 0, MOST_WHOLE),
    )


def _alpha(value: Any) -> float | str:
    """Read an alpha: a number, or a multiple of r, which the lane checks."""
    return value.strip() if isinstance(value, str) and "r" in value else number("alpha", value)


def checked_settings(steps: int, asked: Any, wrong: Problems) -> Settings:
    """Validate the settings that a page or a link sent; keep what is wrong in `wrong`.

    Args:
        asked: text or numbers by name; a name that is left out has its default. The token of a visitor's own text to
            keep stays as it is.
    """
    plain = Settings()
    values = plain.values() | (asked if isinstance(asked, dict) else {})
    least = math.ceil(steps / MOST_EVALUATIONS)
    ends = {
        "warmup": (0, steps - 1), "eval_every": (least, steps), "eval_size": (1, MOST_HELD_OUT),
        "patience": (1, MOST_EVALUATIONS), "rows": (1, MOST_WHOLE), "samples": (2, MOST_SAMPLES),
    }  # fmt: skip

    def checked(field: RaceField) -> Any:
        name, value = field.name, values[field.name]
        if field.kind is tuple:
            return wrong.check(_targets, value, instead=None)
        if (field.empty and is_empty(value)) or (name == "keep" and is_token(value)):
            return value or None
        if name == "metric":
            return wrong.check(_metric, value, instead=AUTO)
        rules: dict[type, tuple[Callable[..., Any], tuple[Any, ...]]] = {
            int: (whole, ends.get(name, ())), float: (number, (name == "weight_decay",)),
            str: (_one_of, (tuple(field.choices),)), bool: (_switch, ()),
        }  # fmt: skip
        rule, allowed = rules[field.kind]
        return wrong.check(rule, field.subject, value, *allowed, instead=getattr(plain, name))

    return Settings(**{field.name: checked(field) for field in FIELDS})


def _one_of(what: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(unknown(what, word(value), allowed))
    return value


def _metric(value: Any) -> str:
    """Read the name of a metric, also ``number:0.01``."""
    check_metric(name := word(value), scores=True)
    return name


def _switch(what: str, value: Any) -> bool:
    if value not in ("0", "1"):
        raise ValueError(f"{what} must be 0 or 1, not {word(value)[:40]!r}")
    return value == "1"


def _targets(value: Any) -> tuple[str, ...] | None:
    """Read the names of target modules, with commas between them; None if there are none."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else [value]
    names = [name for name in names if not is_empty(name)]
    if len(names) > MOST_TARGETS:
        raise ValueError(f"a race takes at most {MOST_TARGETS} target modules, not {len(names)}")
    for name in names:
        known = isinstance(name, str) and len(name) <= LONGEST_TARGET
        if not (known and re.fullmatch(TARGET_PATTERN, name)):
            raise ValueError(
                f"a target module must be at most {LONGEST_TARGET} letters, digits and "
                f". _ - * ? ! [ ], not {word(name)[:40]!r}"
            )
    return tuple(names) or None


def longest_example(model: str) -> int:
    """Return the most tokens that an example may have: the model's context, or `MAX_LENGTH`."""
    return min(MODELS[model].context, MAX_LENGTH)


def check_tokens(limits: Limits, config: RaceConfig) -> None:
    """Check that a race computes on no more tokens than this server allows.

    Raises:
        ValueError: it does.
    """
    tokens = tokens_at_most(config)
    if tokens > limits.max_tokens:
        raise ValueError(
            f"{config.steps} steps of {counted(len(config.lanes), 'lane')} with {config.batch_size} prompts, "
            f"{counted(config.answers_read, 'answer')} each, of up to {longest_example(config.model)} tokens are "
            f"{tokens:,} tokens, but this server allows at most {limits.max_tokens:,} per race: reduce one of them"
        )


def tokens_at_most(config: RaceConfig) -> int:
    """Return the most tokens that a race of the page computes on, if all examples are the longest.

    >>> tokens_at_most(RaceConfig(model="glassllm", steps=100, batch_size=16))  # of 9 lanes
    1843200
    """
    examples = config.steps * len(config.lanes) * config.batch_size * config.answers_read
    return examples * longest_example(config.model)


def _named_or_own(what: str, name: Any, names: Collection[str], files: OwnFiles | None, kind: FileKind) -> str:
    """Return a name from a list, or the path of a visitor's own file."""
    if isinstance(name, str) and name in names:
        return name
    own = files.find(name, kind) if files else None
    if own is None and is_token(name):
        raise ValueError(f"{kind.words} is no longer on this server: choose it again")
    if own is None:
        raise ValueError(unknown(what, word(name), names))
    return str(own)


def is_token(name: object) -> bool:
    """Whether a value stands for a visitor's own file."""
    return isinstance(name, str) and name.startswith(TOKEN)
