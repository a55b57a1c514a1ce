"""The verb ``race`` with ``--chain``: races on one task after the other, with a merge in between."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from olora_viz.cli.console import (
    INTERRUPTED,
    config_of,
    given_again,
    print_json,
    print_table,
    progress_bar,
    save_charts,
    say,
)
from olora_viz.machine.process import StoppedEarlyError, on_interruption
from olora_viz.machine.wording import counted, number, percent

if TYPE_CHECKING:
    from olora_viz.cli.race import Shown
    from olora_viz.races.chain import Chain, ChainLink


def run_chain(options: argparse.Namespace, shown: Shown, follow: Callable[..., None]) -> int:
    """Race link after link, and print what each lane knows of every task after every link.

    Args:
        follow: reports the steps of a race, see `cli.race`.
    """
    from olora_viz.races.fields import link_words
    from olora_viz.races.step import STOPPED

    if options.track is not None:
        raise ValueError("--track reports one race: leave it out of a chain")
    chain, folder = _begin(options, shown), options.resume or options.folder
    stopped = False
    with on_interruption(chain.close, f", then saving it in {str(folder)!r}" if folder else ""):
        try:
            for link in iter(lambda: _next(chain, shown), None):
                say(f"link {link.number} of {len(chain.tasks)}: {link_words(link.task, link.race.config.objective)}")
                with closing(iter(link.run or link.race)) as steps:
                    follow(steps, link.race, shown, options.json, beside={"link": link.number})
                if stopped := link.race.status == STOPPED:
                    break
        except StoppedEarlyError:
            raise KeyboardInterrupt from None
    if options.json:
        print_json({"chain": chain.to_json()})
    else:
        print_chain(chain)
    if options.png and chain.links:
        from olora_viz.figures.chain import chain_figures

        save_charts(options.png, chain_figures(chain))
    return INTERRUPTED if stopped else 0


def _begin(options: argparse.Namespace, shown: Shown) -> Chain:
    """Return the chain of the options, or that of the folder to resume."""
    from olora_viz.races.chain import chain, resume_chain
    from olora_viz.tasks.task import links_of

    if options.resume is not None:
        return resume_chain(options.resume, progress=shown, **given_again(options, "metric"))
    tasks = [link for task in (options.task or "").split(",") for link in links_of(task)]
    options.task = tasks[0] or None
    objectives = (options.objective or "").split(",")
    options.objective = objectives[0] or None
    with progress_bar() as shown.by:
        return chain(
            config_of(options), tasks if options.task else [], folder=options.folder, progress=shown,
            objectives=objectives if len(objectives) > 1 else (),
        )  # fmt: skip


def _next(chain: Chain, shown: Shown) -> ChainLink | None:
    """Return the next link, with the progress of what comes before it on a bar; None after the last."""
    with progress_bar() as shown.by:
        return next(chain, None)


_SHOWN: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "update": ("‖ΔW‖/‖W‖", percent),
    "all_updates": ("all links", percent),
    "effective_rank": ("effective rank", partial(number, form=".1f")),
    "angle": ("angle", partial(number, form=".1f")),
    "intruders": ("intruders of 10", partial(number, form=".1f")),
    "text_loss": ("loss on the text", partial(number, form=".3f")),
    "drift": ("drift", number),
}
"""The measurements of a lane after a link, see `Chain.links`: the head of the column, and how a value is written."""


def print_chain(chain: Chain) -> None:
    """Print what every lane knows of every task after every link, held-out, how far it moved and what it forgot."""
    from olora_viz.races.chain import kept, sentences
    from olora_viz.races.fields import link_words

    tasks = list(dict.fromkeys(chain.tasks))
    ended = [lane["moved"] | lane for link in chain.links for lane in link["lanes"].values()]
    shown = [key for key in _SHOWN if any(lane.get(key) is not None for lane in ended)]
    rows = [["lane", "after", *(f"{task} {what}" for task in tasks for what in ("loss", "accuracy"))]]
    rows[0] += [_SHOWN[key][0] for key in shown]

    def measured(values: Mapping[str, Any]) -> list[str]:
        return [_SHOWN[key][1](values.get(key)) for key in shown]

    def cells(results: dict[str, dict[str, float | None]]) -> list[str]:
        parts = (results.get(task, {"loss": None, "accuracy": None}) for task in tasks)
        return [text for part in parts for text in (number(part["loss"], ".3f"), percent(part["accuracy"]))]

    base = {"text_loss": chain.links[0].get("base_text_loss")} if chain.links else {}
    rows.append(["(base model)", "", *cells(chain.base), *measured(base)])
    for label in chain.labels:
        for at, link in enumerate(chain.links, 1):
            lane, out = link["lanes"].get(label), ["diverged", *[""] * (2 * len(tasks) + len(shown) - 1)]
            known = [*cells(lane["results"]), *measured(lane["moved"] | lane)] if lane else out
            rows.append([label, link_words(f"{at} {link['task']}", chain.objectives[at - 1]), *known])
            if not lane:
                break
    print_table(rows)
    print(f"{counted(len(chain.links), 'link')} of {len(chain.tasks)}; results are on held-out examples")
    for sentence in sentences(kept(chain)):
        print(sentence)
