"""The verbs on what a run has left: export, push, inspect."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from olora_viz.cli.console import (
    Verb,
    add_shared,
    filled,
    new_file,
    new_path,
    path,
    print_json,
    print_table,
    progress_bar,
    resumable,
    save_charts,
    say,
)
from olora_viz.machine.wording import number, percent

if TYPE_CHECKING:
    from olora_viz.measures.inspection import LayerComparison, LayerInspection


def add_verbs(verb: Verb) -> None:
    """Add the verbs."""
    parser = verb("export", export, "write one lane of a run as an adapter or a whole model, or merge an adapter")
    parser.add_argument("folder", type=path, metavar="DIR", help="a run folder, or the adapter to merge")
    parser.add_argument("--lane", metavar="NAME", help="label of the lane, for a run folder")
    base = "the folder of an adapter's model, which is read layer by layer; default: the one that the adapter names"
    parser.add_argument("--model", type=path, metavar="FOLDER", help=base)
    parser.add_argument("--out", type=new_path, required=True, metavar="FOLDER", help="a new folder")
    form = "lora: an adapter that loads anywhere; olora: A and B alone, for PEFT's OLoRA; merged: the whole model; "
    form += "default: lora"
    parser.add_argument("--form", choices=("lora", "olora", "merged"), default="lora", help=form)
    check = "of a run's lane, also measure what a merge costs in float32, bfloat16, float16 and 4 bits"
    parser.add_argument("--check", action="store_true", help=check)
    add_shared(parser, "--workers", "--ray")

    parser = verb("push", push, "push an adapter to the Hugging Face hub, with a model card")
    parser.add_argument("folder", type=path, metavar="DIR", help="a run folder, or an adapter's own")
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the repository")
    parser.add_argument("--lane", metavar="NAME", help="label of the lane, for a run folder")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--dry-run", action="store_true", help="list the files that would be pushed, and push none")

    parser = verb("inspect", run_inspect, "how a PEFT adapter changes its base model")
    parser.add_argument("folder", type=path, metavar="FOLDER", help="an adapter's, with adapter_model.safetensors")
    other = "another adapter of the same model, to compare with"
    parser.add_argument("other", nargs="?", type=path, metavar="OTHER", help=other)
    base = "a model's name, or a local Hugging Face folder; default: the one that the adapter names"
    parser.add_argument("--model", type=filled, help=base)
    add_shared(parser, "--png")
    parser.add_argument("--html", type=new_file, metavar="FILE", help="write a self-contained report")


def export(options: argparse.Namespace) -> int:
    """Write one lane into a new folder, in the requested form, and read it back."""
    from olora_viz.lanes.stored_adapter import CONFIG
    from olora_viz.machine.checks import unknown
    from olora_viz.machine.files import is_free
    from olora_viz.races import run as runs
    from olora_viz.races.export import export_lane
    from olora_viz.races.merge_cost import merge_cost

    if (options.folder / CONFIG).is_file():
        return _merge(options)
    if options.lane is None:
        if not options.folder.is_dir():
            raise ValueError(f"{str(options.folder)!r} is not a folder on this machine")
        raise ValueError(
            f"{str(options.folder)!r} is no adapter, as it has no {CONFIG}; a run folder needs --lane NAME, the label "
            "of the lane to write"
        )
    if options.model is not None:
        raise ValueError("--model is for adapters: a run names its model")
    if options.workers != 1 or options.ray is not None:
        raise ValueError("--workers and --ray are for adapters: a lane of a run is written by one process")
    labels = runs.read_config(options.folder).labels
    if options.lane not in labels:
        raise ValueError(unknown("lane", options.lane, labels))
    out = options.out.resolve()
    if not is_free(out):
        raise ValueError(f"--out {str(options.out)!r} must be new or empty")
    with progress_bar() as progress:
        race = runs.restored(options.folder, progress=progress)
        exported = export_lane(race, labels.index(options.lane), out, options.form)
        cost = merge_cost(race, options.lane) if options.check else None
    label, where, read_back = exported.label, str(options.out), exported.check
    written = {"lane": label, "form": exported.form, "out": where, "steps": race.done}
    written |= {"read_back": read_back.to_json()} | ({"merge": cost.to_json()} if cost else {})
    print(json.dumps(written) if options.json else f"{label} written to {where}")
    say(read_back.sentence)
    if cost and not options.json:
        print_table(cost.rows)
        print(cost.sentence)
        say(cost.basis)
    return 0


def _merge(options: argparse.Namespace) -> int:
    """Merge an adapter into the folder of its model, layer by layer."""
    from olora_viz.lanes.merged_folder import merge_folder
    from olora_viz.measures.inspection import base_of
    from olora_viz.models.shards import MERGE

    if options.form != "merged":
        raise ValueError(f"{str(options.folder)!r} is an adapter already: write it as a model by --form merged")
    if options.lane is not None:
        raise ValueError("--lane is for run folders: an adapter is one lane")
    if options.check:
        raise ValueError("--check is for run folders: an adapter's has no examples, and may not fit into memory")
    base = options.model or Path(base_of(options.folder))
    if options.model is None and not base.is_dir():
        raise ValueError(f"the adapter's model {str(base)!r} is not a folder on this machine: pass --model FOLDER")
    places = {"workers": options.workers, "ray": options.ray}
    is_there = (options.out / MERGE).is_file()
    layers = resumable(lambda progress: merge_folder(options.folder, base, options.out, progress, **places))
    where = {"adapter": str(options.folder), "base": str(base), "out": str(options.out), "layers": layers}
    words = f"{base} with its adapter is {'already ' * is_there}in {options.out}{': nothing to do' * is_there}"
    print(json.dumps({"form": "merged", **where}) if options.json else words)
    return 0


def push(options: argparse.Namespace) -> int:
    """Push the files of one adapter, or list them."""
    from olora_viz.races import pushing

    pushing.check_repo(options.repo)
    files = pushing.files_to_push(options.folder, options.lane)
    sizes = {name: len(content) for name, content in files.items()}
    url = None if options.dry_run else pushing.push(files, options.repo, private=options.private)
    if options.json:
        print(json.dumps({"repo": options.repo, "files": sizes, **({"url": url} if url else {})}))
        return 0
    for name, size in sizes.items():
        print(f"{name}  {size:,} bytes")
    print(f"pushed to {url}" if url else f"would be pushed to {options.repo}")
    return 0


def run_inspect(options: argparse.Namespace) -> int:
    """Measure one adapter or compare two, by layer: a table, JSON lines, a report, a picture."""
    from olora_viz.figures.layers import adapter_map
    from olora_viz.lanes.stored_adapter import read_adapter
    from olora_viz.lanes.stored_weights import model_of
    from olora_viz.machine.files import write_bytes
    from olora_viz.measures.inspection import adapted_layers, common_base, compared, inspected
    from olora_viz.views.reports import adapter_page, comparison_page

    folder, other = options.folder, options.other
    folders = [folder, *([other] if other else [])]
    adapters = [read_adapter(each) for each in folders]
    base = options.model or common_base(folders)
    notes = [f"{adapter.folder}: {note}" for adapter in adapters for note in adapter.notes]
    with progress_bar() as progress:
        model, read = model_of(base, partial(adapted_layers, adapters), progress)
        if other:
            layers = compared(model, *adapters, read=read, progress=progress)
            show = partial(_print_comparison, layers, folder, other)
            draw = partial(comparison_page, folder, other, base, layers, notes)
            sides = [layer.first for layer in layers], [layer.second for layer in layers]
            named = zip(folders, sides, strict=True)
            maps = [adapter_map(list(filter(None, side)), f"What {name} changes") for name, side in named]
        else:
            layers = inspected(model, *adapters, read=read, progress=progress)
            show, draw = partial(_print, layers), partial(adapter_page, folder, base, layers, notes)
            maps = [adapter_map(layers)]
    for note in notes:
        say(note)
    if options.json:
        for layer in layers:
            print_json(layer.to_json())
    else:
        show()
    if options.html:
        write_bytes(options.html, draw().encode())
        say(f"report written to {options.html}")
    if options.png:
        save_charts(options.png, maps)
    return 0


def _print(layers: Sequence[LayerInspection]) -> None:
    from olora_viz.measures.inspection import DORA, total_norm

    dora = any(layer.magnitude_change is not None for layer in layers)
    head = ["layer", "rank", "effective rank", "σ₁", "‖ΔW‖", "‖ΔW‖/‖W‖"]
    rows = [[*head, *["‖sBA‖", "Δm/m"] * dora, "intruders"]]
    for layer in layers:
        rows.append([
            layer.layer, str(layer.rank), f"{layer.effective_rank:.2f}", f"{layer.sigma[0]:.3g}", f"{layer.norm:.3g}",
            percent(layer.relative_norm, 2),
            *[number(layer.direction_norm), percent(layer.magnitude_change or 0.0, 2)] * dora,
            f"{layer.intruders} of {len(layer.similarity)}",
        ])  # fmt: skip
    print_table(rows)
    if dora:
        print(DORA)
    count = sum(layer.intruders > 0 for layer in layers)
    print(f"‖ΔW‖ over all layers: {total_norm(layers):.4g}; intruder dimensions in {count} of {len(layers)} layers")


def _print_comparison(layers: Sequence[LayerComparison], first: Path, second: Path) -> None:
    from olora_viz.views.reports import COMPARED_ROWS, comparison_cells, comparison_words

    print_table([list(COMPARED_ROWS), *map(comparison_cells, layers)])
    print(f"1: {first}; 2: {second}")
    for words in comparison_words(layers):
        print(words)
