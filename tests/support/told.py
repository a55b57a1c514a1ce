"""What the sentences say of steps made by hand."""

import math
import re

import numpy as np
from support.steps import a_step, judged

from olora_viz.lanes.lane import Lane, display_names
from olora_viz.races.step import Step
from olora_viz.studies import story

NAN = math.nan
RATES = (Lane("lora", lr=1e-3), Lane("lora", lr=3e-3), Lane("olora", lr=1e-3), Lane("olora", lr=3e-3))
PAIR = (Lane("lora"), Lane("olora"))
SEEDS = tuple(Lane(init, seed=seed) for init in ("lora", "olora") for seed in range(3))


def steps(*held_out: list[float], first_norms: list[float] | None = None, examples: int = 40) -> list[Step]:
    """One step per list of held-out losses, the same on all examples but for a little noise.

    An empty list is a step without evaluation. A loss below 1 is a right answer.
    """
    lanes = max(len(losses) for losses in held_out) if any(held_out) else len(first_norms or [])
    rng, made = np.random.default_rng(0), []
    for n, losses in enumerate(held_out, start=1):
        loss = np.array(losses) if losses else np.full(lanes, 5.0)
        step = a_step(n, loss, first_norms, seconds=n, tokens=n)
        noise = 1e-3 * rng.normal(size=(lanes, examples))
        made.append(judged(step, loss[:, None] + noise) if losses else step)
    return made


def told(lanes: tuple[Lane, ...], made: list[Step], *, plain_text: bool = True) -> str:
    """Return all sentences on some steps."""
    names = display_names(lanes)
    return " ".join(map(str, story.story_of(lanes, names, made, plain_text=plain_text)))


GRADIENTS = re.compile(
    r"(?P<mine>\S+(?: \S+)*?)'s first gradient is (?P<factor>twice|.+? times) (?P<theirs>\S.*?)'s\."
)


def first_gradients(lanes: tuple[Lane, ...], made: list[Step]) -> list[tuple[str, ...]]:
    """Whose first gradient is said to be how much larger than whose."""
    said = map(str, story.story_of(lanes, display_names(lanes), made, plain_text=True))
    found = map(GRADIENTS.fullmatch, said)
    return [match.group("mine", "factor", "theirs") for match in found if match]
