"""The entry of the app, here and on a Hugging Face Space: ``python -m olora_viz serve``."""

import sys

from olora_viz.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
