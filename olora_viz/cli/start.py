"""The verb ``start``: an adapter's start on a model that need not fit into memory."""

from __future__ import annotations

import argparse
import time

from olora_viz.cli.console import Verb, add_shared, new_path, path, print_json, resumable, say


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    parser = verb("start", start, "start an adapter layer by layer, without loading the model")
    parser.add_argument("--model", type=path, required=True, metavar="FOLDER", help="a local Hugging Face folder")
    parser.add_argument("--init", default="olora", metavar="NAME", help="the initialization; default: olora")
    parser.add_argument("--r", type=int, default=8, help="the rank; default: 8")
    parser.add_argument("--alpha", help="numerator of the scaling, a number or such as 2r; default: the rank")
    parser.add_argument("--seed", type=int, default=0, help="of a random start; default: 0")
    target = (
        "a layer by the end of its name, with * and ?, or attention or mlp; repeat for each; default: every linear "
        "layer in the blocks"
    )
    parser.add_argument("--target", action="append", metavar="NAME", help=target)
    parser.add_argument("--out", type=new_path, required=True, metavar="ADAPTER", help="a new folder for the adapter")
    residual = "a new folder for the model with W − s B⁰A⁰: with the adapter it computes what the model does"
    parser.add_argument("--residual", type=new_path, metavar="FOLDER", help=residual)
    add_shared(parser, "--workers", "--ray")


def start(options: argparse.Namespace) -> int:
    """Write the adapter and its residual model."""
    from olora_viz.lanes.alpha import read_alpha
    from olora_viz.lanes.lane import Lane
    from olora_viz.lanes.started_folder import start_folder
    from olora_viz.models.shards import START

    targets = options.target and tuple(options.target)
    alpha = None if options.alpha is None else read_alpha(options.alpha)
    lane = Lane(options.init, r=options.r, alpha=alpha, seed=options.seed, targets=targets)
    where = {"workers": options.workers, "ray": options.ray}
    is_there = (options.out / START).is_file()
    began = time.monotonic()
    started = resumable(
        lambda progress: start_folder(options.model, lane, options.out, options.residual, progress, **where)
    )
    seconds = time.monotonic() - began
    if options.json:
        print_json(started.to_json() | {"seconds": seconds})
    elif is_there:
        print(f"{started.out} is already there: nothing to do")
    else:
        rest = f" and {started.residual}" if started.residual else ""
        print(f"{lane.init} started in {started.layers} layers, written to {started.out}{rest}")
    if started.note:
        say(started.note)
    say(started.sentence)
    return 0
