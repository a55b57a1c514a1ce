"""The settings of a race that page, panels and command line share: what each means, and how it is entered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from olora_viz.lanes.schedule import SCHEDULES

IMITATION, DPO, REINFORCE = OBJECTIVE_NAMES = ("imitation", "dpo", "reinforce")
"""What lanes learn from, see `races.objectives`."""

FLOAT, NF4 = BASES = ("float", "nf4")
"""How a race keeps the frozen weights: as numbers of its dtype, or in four bits."""

ORDERS_OF_BATCHES = ("auto", "shared", "by-seed")
"""Whether all lanes train on the same batches, or those of one seed do."""

AUTOMATIC = "automatic"
"""What an empty input means whose value a page finds from the number of steps."""


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
    written: str = ""
    """What else an option takes than the choices, after its meaning."""

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
    RaceField(
        "batches", "Batches",
        "shared: all lanes see the same; by-seed: lanes of one seed do; auto: by-seed if a start without random "
        "numbers races from several seeds",
        str, choices={name: name for name in ORDERS_OF_BATCHES},
    ),
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
        written="the path of a text or a task file, the name of a task, auto for a text of the package, if it has one "
        "for the model, or none; default: auto, in a study none",
    ),
    RaceField(
        "objective", "Learn from",
        "What the lanes learn from: right answers; preferences of right answers over wrong ones; or rewards, by the "
        "metric, of answers that they draw themselves",
        str, "objective",
        {IMITATION: "right answers", DPO: "preferences (DPO)", REINFORCE: "rewards (REINFORCE)"},
        written="imitation, dpo or reinforce; with --chain one for each task, such as imitation,reinforce; default: "
        "imitation",
    ),
    RaceField(
        "samples", "Answers per prompt",
        "How many answers a lane draws to each prompt of a step, to learn from rewards",
        called="answers per prompt",
    ),
    RaceField(
        "base", "Base weights",
        "How the frozen weights are kept: as numbers, or in four bits with double quantization, all but the head",
        str, "base", {FLOAT: "as numbers", NF4: "in four bits (NF4)"}, written="float or nf4; default: float",
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
    RaceField(
        "metric", "Scored by",
        "What the answers that lanes generate to the test examples at the end are scored by, from 0 to 1", str,
        choices={
            "auto": "the task's own", "exact": "right answer, exactly", "first-word": "first word", "number": "number",
            "f1": "F1 over entities", "chrf": "chrF", "none": "nothing",
        },
        written="exact, first-word, number, f1, chrf, auto for that of the task, if it has one, or none; number:0.01 "
        "is a number within a hundredth; FILE.py:NAME a Python function of answer and right answer; default: auto",
    ),
)  # fmt: skip
"""The settings of a page's More settings, in the order of their inputs, two in a row."""

OTHER_FIELDS = (
    RaceField("steps", "Steps", "Number of updates"),
    RaceField("epochs", "Epochs", "How often all training examples are seen, in place of steps", float),
    RaceField("batch_size", "Prompts per step", "Prompts per step"),
    RaceField("max_length", "Longest example", "Maximum tokens of an example; longer ones are skipped"),
    RaceField("seed", "Seed", "Seed of the order of the examples"),
    RaceField("split_seed", "Split", "Seed of the split into training, held-out and test examples"),
    RaceField("test", "Test file", "A file of examples for the evaluation at the end", str),
    RaceField("test_size", "Test examples", "The most test examples that the evaluation at the end takes"),
    RaceField(
        "accumulate", "Parts", "Parts of its batch over which a step accumulates its gradient, to save memory"
    ),
    RaceField(
        "forget", "May forget", "By how many nats the loss per token on the text to keep may rise", float,
        empty="without a limit",
    ),
    RaceField("device", "Device", "Where it is computed: auto, cpu, or an accelerator of torch, such as cuda:1", str),
    RaceField(
        "dtype", "Precision", "Precision of the frozen base", str,
        choices={name: name for name in ("auto", "float32", "bfloat16", "float64")},
    ),
)  # fmt: skip
"""The settings that are no inputs there, but options."""

BY_NAME = {field.name: field for field in (*FIELDS, *OTHER_FIELDS)}
"""All of them."""


def link_words(link: str, objective: str) -> str:
    """Return what a link of a chain is called: with what it learns from, unless that is right answers.

    >>> link_words("sentiment", IMITATION), link_words("sentiment", REINFORCE)
    ('sentiment', 'sentiment, from rewards (REINFORCE)')
    """
    return link if objective == IMITATION else f"{link}, from {BY_NAME['objective'].choices[objective]}"
