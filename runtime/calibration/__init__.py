"""What tuned baselines reach on the proxy tasks, and a candidate's score against them.

>>> from evoptim.runtime.calibration import load_calibration, speedup
>>> calibration = load_calibration("digits_mlp")
>>> lion = calibration.baselines["lion"]
>>> score = speedup(lion.losses, lion.steps, calibration.envelope)
>>> score.low < score.value < score.high
True
"""

from .envelope import Envelope
from .measuring import HORIZONS, Job, calibrate, timed_tuning
from .record import Calibration, Provenance, load_calibration
from .scoring import Speedup, speedup
from .tuning import BASELINES, Baseline, Tuned, tune

__all__ = [
    "BASELINES",
    "HORIZONS",
    "Baseline",
    "Calibration",
    "Envelope",
    "Job",
    "Provenance",
    "Speedup",
    "Tuned",
    "calibrate",
    "load_calibration",
    "speedup",
    "timed_tuning",
    "tune",
]
