"""The entry of the app, here and on a Hugging Face Space: build the pages, launch."""

import signal
import sys

from olora_viz.web.page import build, launch_options

demo = build()

if __name__ == "__main__":
    # A polite end (also of a container) removes the races' temporary folders.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    demo.launch(**launch_options())
