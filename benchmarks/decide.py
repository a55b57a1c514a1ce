"""A decision: what is known when, from the file to the adapter, and the time of cores it took.

python benchmarks/decide.py [--model smollm2-135m] [--task FILE] [--minutes 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

from olora_viz.machine.process import wait_asleep

wait_asleep()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="number-words", help="a built-in task or a file")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    from olora_viz.studies.decide import decide

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        road = decide(f"{home}/decision", minutes=options.minutes, model=options.model, task=options.task)
        for known in road:
            seeds = max((one.seeds for one in known.verdicts.each), default=0)
            row = {
                "model": options.model, "seconds": time.monotonic() - began,
                "core_seconds": time.process_time(), "stage": known.stage,
                "lanes": known.lanes, "planned": known.plan.lanes, "seeds": seeds,
                "said": known.sentence,
            }  # fmt: skip
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                print(
                    f"{row['seconds']:6.1f} s {row['core_seconds']:7.1f} core s  {known.stage:13} "
                    f"{known.lanes:3} of {known.plan.lanes} lanes  {known.sentence}", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
