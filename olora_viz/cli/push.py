"""The verb ``push``: an adapter to the Hugging Face hub."""

from __future__ import annotations

import argparse
import json

from olora_viz.cli.console import Verb
from olora_viz.cli.options import path


def add_verbs(verb: Verb) -> None:
    """Add the verb."""
    made = verb("push", push, "push an adapter to the Hugging Face hub, with a model card")
    made.add_argument("folder", type=path, metavar="DIR", help="a run folder, or an adapter's own")
    made.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the repository")
    made.add_argument("--lane", metavar="NAME", help="label of the lane, for a run folder")
    made.add_argument("--private", action="store_true", help="make a new repository private")
    made.add_argument(
        "--dry-run", action="store_true", help="list the files that would be pushed, and push none"
    )


def push(options: argparse.Namespace) -> int:
    """Push the files of one adapter, or list them."""
    from olora_viz.races import pushing

    pushing.check_repo(options.repo)
    files = pushing.files_to_push(options.folder, options.lane)
    sizes = {name: len(content) for name, content in files.items()}
    told: dict[str, object] = {"repo": options.repo, "files": sizes}
    if not options.dry_run:
        told["url"] = pushing.push(files, options.repo, private=options.private)
    if options.json:
        print(json.dumps(told))
        return 0
    for name, size in sizes.items():
        print(f"{name}  {size:,} bytes")
    print(f"pushed to {told['url']}" if "url" in told else f"would be pushed to {options.repo}")
    return 0
