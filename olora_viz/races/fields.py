"""The settings of a race that page, panels and command line offer alike: what each means, and how it is entered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from olora_viz.lanes.schedule import SCHEDULES
from olora_viz.races.config import BATCHES, BATCHES_WORDS


class RaceField(NamedTuple):
    """One setting."""

    name: str
    """In `RaceConfig`, links and set-ups; weight decay and clipping are those of every lane."""
    label: str
    """Above its input."""
    meaning: str
    """The title of its input, and the help of its option."""
    kind: type = int
    """``int``, ``float``, ``bool``, ``str``, or ``tuple`` for names with commas between them."""
    called: str = ""
    """What the sentence on a refused value calls it; its label if empty."""
    choices: Mapping[str, str] = MappingProxyType({})
    """The only values, with their words; none for an input of text."""
    empty: str = ""
    """What an empty input means."""

    @property
    def subject(self) -> str:
        """What the sentence on a refused value calls it."""
        return self.called or self.label.lower()


FIELDS = (
    RaceField(
        "schedule", "Schedule", "How the learning rates change after the warm-up", str,
        choices={name: name for name in SCHEDULES},
    ),
    RaceField(
        "warmup", "Warm-up", "Steps over which the learning rates rise to their peak", called="warm-up steps"
    ),
    RaceField("weight_decay", "Weight decay", "Decoupled weight decay of A and B, of lanes without their own", float),
    RaceField(
        "clip", "Gradient clipping", "The largest norm of a lane's gradient: a longer one is shortened to it", float,
        empty="off",
    ),
    RaceField(
        "eval_every", "Evaluate every", "Steps between two evaluations on the held-out examples",
        called="steps between evaluations", empty="automatic",
    ),
    RaceField("eval_size", "Held-out examples", "The most held-out examples that an evaluation takes"),
    RaceField("batches", "Batches", BATCHES_WORDS, str, choices={name: name for name in BATCHES}),
    RaceField(
        "targets", "Target modules",
        "The layers that are adapted: ends of their names, with commas between them, such as q_proj, v_proj; or "
        "attention, mlp",
        tuple, called="a target module", empty="all linear layers",
    ),
    RaceField(
        "rows", "Training examples",
        "How many of the training examples are trained on: fewer ones are among more", empty="all",
    ),
    RaceField(
        "keep_best", "Adapter from",
        "Which adapter of a lane answers, is tested and can be downloaded at the end: that of its last step, or of "
        "its lowest held-out loss",
        bool, "keep_best", {"0": "the last step", "1": "the best step"},
    ),
    RaceField(
        "patience", "Early stop after",
        "Evaluations without a lower held-out loss after which a lane stops; the others go on",
        called="evaluations without improvement", empty="off",
    ),
    RaceField(
        "keep", "Text to keep",
        "A text that is not trained on: how much of it the lanes forget is measured beside what they learn",
        str, choices={"none": "none", "auto": "plain text"},
    ),
    RaceField(
        "chat", "Prompts",
        "How a prompt and its answer are written: as plain text, or as messages in the model's chat template, with "
        "its end-of-turn token",
        bool, "chat", {"0": "plain text", "1": "chat template"},
    ),
    RaceField(
        "truncate", "Long examples",
        "What happens to an example that is too long: it is left out, or the beginning of its prompt is",
        bool, "truncate", {"0": "left out", "1": "cut at the left"},
    ),
)  # fmt: skip
"""The settings in the order of their inputs, two in a row."""
