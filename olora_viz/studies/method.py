"""A method: what a study compares, written as a lane is, and its name."""

from dataclasses import fields
from functools import cache

from olora_viz.initializers import label_of
from olora_viz.lanes.lane import Lane, display_names, parse_lanes
from olora_viz.lanes.recipes import PREFIX


@cache
def lane_of(method: str) -> Lane:
    """Return the lane that a method is written as, whose rate and seed the study sets.

    Raises:
        ValueError: it is not written as one lane, see `parse_lanes`.

    >>> lane_of("lora:alpha=16")
    Lane('lora', alpha=16.0)
    """
    if not isinstance(method, str):
        raise ValueError(f"a method is written as a lane is, such as 'olora' or 'lora:alpha=16', not {method!r}")
    lanes = parse_lanes(method)
    if len(lanes) > 1:
        raise ValueError(f"{method!r} is {len(lanes)} lanes, and a method is one: give them one by one")
    return lanes[0]


def keys_of(method: str) -> frozenset[str]:
    """Return the keys that a method sets, a recipe all but the rate, which a study chooses.

    >>> sorted(keys_of("lora:alpha=16,dropout=0.1")), sorted(keys_of("olora"))
    (['alpha', 'dropout'], [])
    >>> "r" in keys_of("recipe:unsloth"), "lr" in keys_of("recipe:unsloth")
    (True, False)
    """
    parts = [part.partition("=") for part in method.partition(":")[2].split(",") if part]
    written = frozenset(key for key, equals, _ in parts if equals)
    if not method.startswith(PREFIX):
        return written
    lane, usual = lane_of(method), Lane(lane_of(method).init)
    own = {each.name for each in fields(lane) if getattr(lane, each.name) != getattr(usual, each.name)}
    return written | (own - {"lr", "label"})


def method_name(method: str) -> str:
    """Return a method's display name: its start, and in what it differs from a plain lane of it.

    >>> [method_name(method) for method in ("olora", "lora:alpha=16", "lora:targets=q_proj+v_proj,rslora=1")]
    ['OLoRA', 'LoRA α/r 2', 'LoRA q_proj+v_proj rsLoRA']
    """
    init, written, _ = method.partition(":")
    if not written:
        return label_of(init)
    lane = lane_of(method)
    return lane.label or display_names([Lane(lane.init), lane])[1]
