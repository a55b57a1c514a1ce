"""olora_viz: the playground for low-rank adaptation.

>>> import olora_viz as ov
>>> config = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=2, eval_every=0)
>>> [step.step for step in ov.race(config)]
[1, 2]
"""

import lazy_loader

from olora_viz.machine.process import wait_asleep

wait_asleep()  # before torch is loaded

# A name is loaded when it is first used, from where `__init__.pyi` says: all at once take seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
