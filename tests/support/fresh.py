"""Code in processes of their own, each a fork of one that has loaded the package and nothing else.

What a person's environment decides is read after the fork: neither the hub's client nor transformers is loaded before.
To start Python with torch would take each two seconds of a core.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

FORKING = """
import json, os, signal, sys, traceback
import olora_viz.models, olora_viz.tasks
assert not {"huggingface_hub", "transformers"} & sys.modules.keys()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if os.fork():
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    home, code, arguments, folder, environment = json.loads(line)
    end, status = open(f"{home}/end", "w"), 1
    for number, name in enumerate(("out", "err"), start=1):
        os.dup2(os.open(f"{home}/{name}", os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["", *arguments]
    try:
        exec(code, {"__name__": "__main__"})
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    print(status, file=end, flush=True)
    os._exit(status)
"""

_one_at_a_time = threading.Lock()


@cache
def _forking() -> subprocess.Popen[str]:
    """Start the process that forks; it ends with this one, which closes its input."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", FORKING], stdin=subprocess.PIPE, env=environment, text=True)


def run_fresh(code: str, *arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a folder with more of an environment; it must not fail."""
    with tempfile.TemporaryDirectory() as home:
        os.mkfifo(f"{home}/end")
        asked = [home, code, arguments, str(folder), environment]
        with _one_at_a_time:
            print(json.dumps(asked), file=_forking().stdin, flush=True)
        status = Path(home, "end").read_text()  # nothing, if it was killed
        out, err = (Path(home, name).read_text() for name in ("out", "err"))
    assert status == "0\n", err
    return subprocess.CompletedProcess(arguments, 0, out, err)
