"""A method: what a study compares, written as a lane is, and its name."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import MAX_LABEL, Lane, display_names
from olora_viz.lanes.lane_spec import parse_lanes
from olora_viz.lanes.recipes import OF_A_LANE, RECIPE_NAME, Recipe, recipe_of
from olora_viz.machine.wording import compact

METHODS = ("lora", "olora", "pissa", "milora")
"""The methods that are compared by default; the last ones are left out where time is short."""

TUNED = "lr=tuned"
"""How a recipe is written whose rate the study chooses."""

OF_LENGTH = ("batch_size", "steps", "epochs")
"""The settings of a race that a recipe as shipped has of its own."""


def methods_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the methods to compare: those that are named, and LoRA as the reference if it is not among them.

    >>> methods_of(["olora"]), methods_of(["olora", "lora"])
    (('lora', 'olora'), ('olora', 'lora'))
    """
    return tuple(dict.fromkeys(names if METHODS[0] in names else (METHODS[0], *names)))


def contenders_of(method: str) -> tuple[str, ...]:
    """Return the methods that a study compares where one is named: a recipe as shipped, and with its rate tuned.

    >>> contenders_of("recipe:axolotl"), contenders_of("lora")
    (('recipe:axolotl', 'recipe:axolotl,lr=tuned'), ('lora',))
    """
    return (method,) if shipped(method) is None else (method, f"{method},{TUNED}")


def shipped(method: str) -> Recipe | None:
    """Return the recipe that a method is as shipped, of whose keys none is written otherwise; None if it is none.

    >>> shipped("recipe:axolotl").toolkit, shipped("recipe:axolotl,lr=tuned")
    ('Axolotl', None)
    """
    return None if "," in method else recipe_of(method)


@cache
def lane_of(method: str) -> Lane:
    """Return the lane that a method is written as, whose seed the study sets, and its rate but for an own one.

    Raises:
        ValueError: it is not written as one lane, see `parse_lanes`.

    >>> lane_of("lora:alpha=16")
    Lane('lora', alpha=16.0)
    """
    if not isinstance(method, str):
        raise ValueError(f"a method is written as a lane is, such as 'olora' or 'lora:alpha=16', not {method!r}")
    lanes = parse_lanes(re.sub(rf"(?<=[:,]){TUNED}(,|$)", "", method))
    if len(lanes) > 1:
        raise ValueError(f"{method!r} is {len(lanes)} lanes, and a method is one: give them one by one")
    if lanes[0].fair:
        raise ValueError(f"the rate of the method {method!r} must be a number, or tuned, which it is without one")
    return lanes[0]


def _written(method: str) -> frozenset[str]:
    """Return the keys that follow a method's name."""
    parts = [part.partition("=") for part in re.split("[:,]", method)[1:]]
    return frozenset(key for key, equals, _ in parts if equals) - ({"lr"} if TUNED in method else set())


def own_rate(method: str) -> float | None:
    """Return the rate that a method keeps; None if the study tunes it.

    >>> own_rate("lora:lr=3e-3"), own_rate("recipe:axolotl"), own_rate("recipe:axolotl,lr=tuned"), own_rate("lora")
    (0.003, 0.0002, None, None)
    """
    return lane_of(method).lr if shipped(method) or "lr" in _written(method) else None


def kept_words(method: str) -> str:
    """Return what a method keeps of its own, which a study would set; empty if it keeps nothing.

    >>> kept_words("recipe:axolotl"), kept_words("olora")
    ('its rate 2e-4, batches of 4 and 1 epoch', '')
    """
    rate, recipe = own_rate(method), shipped(method)
    more = f", batches of {recipe.batch_size} and {recipe.length}" if recipe else ""
    return f"its rate {compact(rate)}{more}" if rate else ""


def keys_of(method: str) -> frozenset[str]:
    """Return the settings that a method has of its own, but for its rate.

    >>> sorted(keys_of("lora:alpha=16,dropout=0.1")), sorted(keys_of("olora"))
    (['alpha', 'dropout'], [])
    >>> "r" in keys_of("recipe:unsloth"), "batch_size" in keys_of("recipe:unsloth")
    (True, True)
    """
    of_recipe = OF_A_LANE[1:] if method.startswith(RECIPE_NAME) else ()
    return (_written(method) | {*of_recipe, *(OF_LENGTH if shipped(method) else ())}) - {"lr"}


def own_settings(method: str) -> dict[str, Any]:
    """Return the settings in place of a study's with which a recipe as shipped races; none for another method.

    >>> own_settings("recipe:axolotl")["batch_size"], own_settings("lora")
    (4, {})
    """
    recipe = shipped(method)
    return (
        {} if recipe is None else {**dict.fromkeys(OF_LENGTH), **recipe.lane, **recipe.race, "warmup": recipe.warmup}
    )


def label_in_race(method: str) -> str | None:
    """Return the label of a method's lanes in a study's races; None for the usual one, of a method without own rate.

    By it, a run at an own rate is told from that of the same lane at a rate that is tried.

    >>> label_in_race("recipe:axolotl"), label_in_race("olora:lr=3e-3,alpha=r/2"), label_in_race("olora")
    ('recipe axolotl', 'olora lr=3e-3 alpha=r 2', None)
    """
    return None if own_rate(method) is None else re.sub(r"[^\w .+@=#-]", " ", method, flags=re.ASCII)[:MAX_LABEL]


def method_name(method: str) -> str:
    """Return a method's display name: its start, and in what it differs from a plain lane of it.

    >>> [method_name(method) for method in ("olora", "lora:alpha=16", "lora:targets=q_proj+v_proj,rslora=1")]
    ['OLoRA', 'LoRA α/r 2', 'LoRA q_proj+v_proj rsLoRA']
    >>> method_name("recipe:axolotl"), method_name("recipe:axolotl,lr=tuned"), method_name("lora:lr=3e-3")
    ('axolotl as shipped', 'axolotl, rate tuned', 'LoRA 3e-3')
    """
    init, written, _ = method.partition(":")
    if not written:
        return label_of(init)
    lane = lane_of(method)
    if lane.label is None:
        usual = Lane(lane.init) if own_rate(method) is None else Lane(lane.init, lr=2 * lane.lr)
        return display_names([usual, lane])[1]
    tuned = init == RECIPE_NAME[:-1] and own_rate(method) is None
    return f"{lane.label}{' as shipped' * (shipped(method) is not None)}{', rate tuned' * tuned}"


def noun(methods: Iterable[str]) -> str:
    """Return what is compared: starts alone, or methods that differ in more than the start.

    >>> noun(["lora", "olora"]), noun(["lora", "lora:alpha=2r"])
    ('start', 'method')
    """
    return "method" if any(":" in method for method in methods) else "start"
