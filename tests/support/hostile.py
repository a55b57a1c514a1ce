"""What hostile requests hold, and what no answer to them may hold."""

import json

EVIL = "<script>alert(1)</script>"
VALUES = {
    "nothing": "null",
    "truth": "true",
    "a huge text": json.dumps("x" * 100_000),
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "a huge number": "1" + "0" * 400,
    "a billion": "1000000000",
    "deep nesting": "[" * 300 + "]" * 300,
    "script": json.dumps(EVIL),
    "a path": json.dumps("../../../../../../etc/passwd"),
    "an address": json.dumps("file:///etc/passwd"),
    "a file": json.dumps({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}),
    "many kinds": "[[], {}, null, true]",
    "a set-up": json.dumps({"query": "?steps=1000000000&start=1&lane=olora:r=99999", "own": []}),
    "a lane": json.dumps([{"init": EVIL, "r": 1e9, "alpha": "NaN", "lr": "1e999", "seed": -1}]),
    "a forged race": json.dumps("recorded:../../../../etc/passwd"),
}
"""Values as JSON, by what they are."""

SECRET = "root:"  # how /etc/passwd begins
