"""The strip of a class, above the pages: how it votes, and on a projector how to join it."""

from __future__ import annotations

import gradio as gr

from olora_viz.web.classroom.votes import HOURS
from olora_viz.web.parts.card import element

LOCAL = (
    "Only this computer can open this address. Start the playground with --host 0.0.0.0 and open it at this "
    "computer's name in the network, or with --share."
)

STRIP = f"""
<section class="card" id="class-strip" aria-label="Class" hidden>
  <p class="member" hidden>In the class <b class="class-name"></b> your bets (button Bet) and answers are
    counted, without a name and for {HOURS} hours at most.</p>
  <div class="votes">
    <div class="tally"></div>
    <div class="join" hidden>
      <img alt="QR code of the address of the class">
      <div>
        <p class="hint">Join the class <b class="class-name"></b></p>
        <p class="short"></p>
        <p class="hint local" hidden>{LOCAL}</p>
        <p class="turns"><button type="button" class="quiet" data-fold aria-expanded="true">Smaller</button>
          <button type="button" class="quiet" data-end>End the class</button></p>
      </div>
    </div>
  </div>
  <p class="problem" role="alert" hidden></p>
</section>
"""


def build() -> gr.HTML:
    """Make the strip; it is empty on a page without a class."""
    return element(STRIP, elem_id="classroom", script="classroom/strip.js")
