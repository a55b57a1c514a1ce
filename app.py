"""The entry of the app, here and on a Hugging Face Space: build the pages, launch."""

from olora_viz.web.page import build, launch_options

demo = build()

if __name__ == "__main__":
    demo.launch(**launch_options())
