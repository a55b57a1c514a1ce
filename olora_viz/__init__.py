"""olora_viz: the playground for low-rank adaptation.

>>> import olora_viz as ov
>>> config = ov.RaceConfig(lanes=(ov.Lane("lora"), ov.Lane("olora")), steps=2, eval_every=0)
>>> [step.step for step in ov.race(config)]
[1, 2]

``dir(ov)`` lists what people write, in these groups:

- a race: Lane, parse_lanes, RECIPES, RaceConfig, race, watch, load_run, resume_run, verdict, compare_setups,
  steps_frame; on several tasks with a merge in between: chain, resume_chain
- a study: Study, run_study, verdicts, decide, compare, who_leads, Scores, rate_curves, describe_rates,
  describe_reach, steps_to_reach
- adapters, also in a training loop of your own: attach, start_peft, target_layers, training_batches, write_peft,
  read_peft, read_back, merge_cost
- weights and adapters measured: truncation, Weight, layers_like, intruder_dimensions, update_spectra,
  inspect_adapter, compare_adapters, conditioning, tangent_kernel, curvature, gauss_newton, fair_rate
- charts: plot_race, plot_rates, plot_study, plot_spectrum, plot_gradients, plot_conditioning, plot_claim,
  plot_adapter, figure_style
- models and tasks: MODELS, load_model, TASKS, load_task, Task, Example
- initializations: INITIALIZERS, and each as a function of ``ov.starts``, such as ``ov.starts.olora(W, r)``;
  your own: Initializer, Start, Calibration, register, unregister, check_initializer
- measurements: MEASURES; your own: Measure, register_measure, unregister_measure
- findings: CLAIMS, recorded_claims, load_recording

Beside them ``ov`` has the classes of what these return, such as ``ov.Step``, and the functions of ``ov.starts``.
"""

import re

import lazy_loader

from olora_viz.machine.process import wait_asleep
from olora_viz.machine.version import without

wait_asleep()  # before torch is loaded

# A name is loaded when it is first used, from where `__init__.pyi` says: all at once take seconds.
_load, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Load a name; where a package of an extra is missing, say which extra has it."""
    try:
        return _load(name)
    except ModuleNotFoundError as missing:
        if sentence := without(missing):
            raise ModuleNotFoundError(sentence, name=missing.name) from None
        raise


def __dir__() -> list[str]:
    """Return the names of the groups above."""
    groups = (__doc__ or "").partition("groups:\n")[2] or " ".join(__all__)
    words = re.findall(r"\w+", re.sub("``.*?``", "", groups, flags=re.DOTALL))
    return sorted({*__all__}.intersection([*words, "starts", "__version__"]))
