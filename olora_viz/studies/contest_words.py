"""What a contest shows, in sentences: by accuracy, and by loss where accuracy leaves it open."""

from __future__ import annotations

from collections.abc import Sequence

from olora_viz.studies.contest import Contest
from olora_viz.studies.who_leads import Basis, who_leads
from olora_viz.studies.words import Sentence


def told_of(where: str, contest: Contest, names: Sequence[str], about: int = 0) -> list[Sentence]:
    """Say how one entry of a contest stands to all others.

    Parameters
    ----------
    where : see `who_leads`.
    names : of the entries, in the contest's order.
    about : the entry's place in it; the first leads by its mean.
    """
    others = [j for j in range(len(names)) if j != about]
    basis = Basis(contest.seeds, contest.examples, chosen_on=contest.chosen_on)
    shares = bool(contest.by_accuracy)
    values = contest.accuracy if shares else contest.loss
    order = [about, *others]
    said = who_leads(
        [names[i] for i in order], [values[i] for i in order],
        [contest.between(about, j) for j in others], basis,
        score="accuracy" if shares else contest.loss_name, where=where,
    )  # fmt: skip
    by_loss = {j: one for j in others if (one := contest.loss_decides(about, j))}
    if not by_loss:
        return [said]
    order = [about, *by_loss]
    decided = who_leads(
        [names[i] for i in order], [contest.loss[i] for i in order], list(by_loss.values()), basis,
        score="", where=f"By {contest.loss_name}",
    )  # fmt: skip
    return [said, decided]
