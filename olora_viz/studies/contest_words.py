"""What a contest shows, in sentences: by accuracy, and by loss where accuracy leaves it open."""

from __future__ import annotations

from collections.abc import Sequence

from olora_viz.studies.contest import Contest
from olora_viz.studies.who_leads import Basis, Statement
from olora_viz.studies.words import Sentence


def told_of(where: str, contest: Contest, names: Sequence[str], about: int = 0) -> list[Sentence]:
    """Say how one entry of a contest stands to all others, see `statements`."""
    return [one.sentence for one in statements(where, contest, names, about)]


def statements(
    where: str, contest: Contest, names: Sequence[str], about: int = 0
) -> list[Statement]:
    """Return how one entry of a contest stands to all others.

    Parameters
    ----------
    where : see `Statement`.
    names : of the entries, in the contest's order.
    about : the entry's place in it; the first leads by its mean.

    Returns
    -------
    One by what leads in the contest; a second by the loss, of those that only the loss orders.
    """
    others = [j for j in range(len(names)) if j != about]
    basis = Basis(contest.seeds, contest.examples, chosen_on=contest.chosen_on)
    shares = bool(contest.by_accuracy)
    values = contest.accuracy if shares else contest.loss
    order = [about, *others]
    said = Statement(
        tuple(names[i] for i in order), tuple(values[i] for i in order),
        tuple(contest.between(about, j) for j in others), basis,
        score="accuracy" if shares else contest.loss_name, where=where,
    )  # fmt: skip
    by_loss = {j: one for j in others if (one := contest.loss_decides(about, j))}
    if not by_loss:
        return [said]
    order = [about, *by_loss]
    decided = Statement(
        tuple(names[i] for i in order), tuple(contest.loss[i] for i in order),
        tuple(by_loss.values()), basis, score="", where=f"By {contest.loss_name}",
    )  # fmt: skip
    return [said, decided]
