"""Plans for a class of 45 and of 90 minutes, and the worksheet that goes with them."""

from __future__ import annotations

from typing import NamedTuple


class ClassPart(NamedTuple):
    """A part of a plan."""

    minutes: int
    title: str
    does: str
    """What the teacher does and says."""
    lesson: str = ""
    """Name of the lesson that the class opens: at its beginning, before the result is shown."""


class ClassPlan(NamedTuple):
    """What a class does, part by part."""

    title: str
    goal: str
    """What the class can do afterwards."""
    parts: tuple[ClassPart, ...]

    @property
    def minutes(self) -> int:
        """How long it takes."""
        return sum(part.minutes for part in self.parts)


JOIN = ClassPart(
    4,
    "Join",
    "Before the class: open a class under “For teachers” on the page Learn, and project that page. Everyone scans the "
    "code or types the address. Say in one sentence what is compared: several ways to start a LoRA adapter, on one "
    "frozen model.",
)
ADAPTER = ClassPart(
    7,
    "What an adapter is",
    "Everyone plays the lesson on the adapters themselves: W, B and A, and ΔW, which fills as the slider goes on. "
    "Then the question: how large is an adapter? Look at the histogram together, and let two who chose differently "
    "explain, before anyone opens the answer.",
    "adapter",
)
BET_PART = ClassPart(
    11,
    "A bet on one learning rate",
    "Everyone bets; the histogram grows as the bets come in. Two who bet differently give their reasons, two minutes "
    "in pairs, and whoever likes changes the bet. Only then press ▶ and watch to the end. Whose bet was right, and "
    "how sure is the verdict?",
    "one-rate",
)
REFUTE = ClassPart(
    6,
    "What would refute it?",
    "“So this start is better.” Everyone answers the question of the lesson on the page Learn. The wrong answers of "
    "the histogram are the interesting ones: more seeds at one rate measure the same mixture more precisely.",
    "one-rate",
)
FAIR_PART = ClassPart(
    12,
    "Fair rates",
    "The same starts at several rates. Everyone bets again: did the gap of the first race change any minds? Under "
    "Rates, compare the minima of the curves, then the left edge. Which of the two gaps would you print in a paper?",
    "fair-rates",
)
CLOSE_PART = ClassPart(
    5,
    "Close",
    "Everyone writes the last line of the worksheet: one claim about starts that they would believe now, and the "
    "measurement that would change their mind. Collect two or three aloud. Then end the class: its votes are deleted.",
)

PLANS = (
    ClassPlan(
        "45 minutes: is one start better?",
        "Say why a comparison at one learning rate does not show which start is better, and what to measure instead.",
        (JOIN, ADAPTER, BET_PART, REFUTE, FAIR_PART, CLOSE_PART),
    ),
    ClassPlan(
        "90 minutes: a claim, its controls and its cost",
        "The same; and name the control that tests an explanation, and what a gain cost elsewhere.",
        (
            JOIN,
            ADAPTER,
            BET_PART,
            REFUTE,
            FAIR_PART,
            ClassPart(
                14,
                "A race of your own",
                "In pairs: change one thing in the set-up (the rate, the rank, the task), write down what you expect, "
                "bet, and press Race. Pairs with the same set-up follow one race, which the server computes once. Two "
                "pairs report: what was expected, what came, how sure the verdict is.",
            ),
            ClassPart(
                13,
                "Controls",
                "OLoRA takes the first columns of W. Is that why it learns? Everyone bets on the race with the "
                "controls, hides OLoRA, and looks at the others. Then the question: which starts keep their first "
                "matrix when the columns change places?",
                "columns",
            ),
            ClassPart(
                13,
                "What did it cost?",
                "Everyone bets, then looks under Forgotten: two ends of which one is above the other paid differently "
                "for the same. Ask for a use of the model in which the one that forgot more is the better choice.",
                "cost",
            ),
            ClassPart(
                5,
                "On your own data",
                "Show the page Decide, and what it needs: the data, a time limit, and a metric. What would the class "
                "try on data of its own?",
            ),
            CLOSE_PART,
        ),
    ),
)
"""The plans, the shorter first."""

LESSONS_ON_PAPER = ("adapter", "one-rate", "fair-rates", "columns", "cost")
"""The lessons of the worksheet: those of the plans."""

BETTED = (
    "I bet on {blank} because {blank}. After the race: {blank}, and the verdict is (clear / level / open / one run)."
)
"""The line of each lesson."""

LAST_QUESTION = "One claim about starts that I would believe now, and the measurement that would change my mind:"
"""The last line of the worksheet."""
