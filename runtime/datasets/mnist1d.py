"""MNIST-1D, generated.

The procedure and its constants are those of Greydanus 2020 (arXiv:2011.14439, data released under Apache 2.0): a
template per digit is padded, stretched, scaled, shifted, drowned in smooth noise where there is no template, given
white noise, sheared and sampled at 40 points. The random numbers are ours, so the examples are not the published ones.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .dataset import Dataset

TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
"""The published curves of the digits 0 to 9."""
EXAMPLES = 5000
LENGTH = 40
STRETCHED = 72
PADDING = (36, 60)
SCALE, SHEAR = 0.4, 0.75
LONGEST_SHIFT = 48
SMOOTH_NOISE, WHITE_NOISE = 0.25, 0.02
SMOOTHING = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
"""A Gaussian of standard deviation 2, cut off at 4 standard deviations."""


def _generate() -> bytes:
    """Signals rounded to five decimals and labels, as the bytes of float32 ``[5000, 41]``."""
    rng = np.random.Generator(np.random.PCG64(42))
    centred = TEMPLATES - TEMPLATES.mean(axis=1, keepdims=True)
    centred /= centred.std(axis=1, keepdims=True)
    templates = (centred - centred[:, :1]) / 6
    labels = rng.permutation(np.arange(EXAMPLES) % len(templates))
    signals = np.stack([_signal(templates[label], rng) for label in labels])
    signals = (signals - signals.mean()) / signals.std()
    return np.column_stack([np.round(signals, 5), labels]).astype("<f4").tobytes()


def _signal(template: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    padded = np.concatenate([template, np.zeros(rng.integers(PADDING[0], PADDING[1] + 1))])
    places = np.linspace(0, len(padded) - 1, STRETCHED)
    signal = np.interp(places, np.arange(len(padded)), padded) * (1 + SCALE * (rng.random() - 0.5))
    shift = rng.integers(LONGEST_SHIFT)
    signal, covered = np.roll(signal, shift), np.roll(places < len(template), shift)
    signal = np.where(covered, signal, _smooth(SMOOTH_NOISE * rng.standard_normal(STRETCHED)))
    signal += WHITE_NOISE * rng.standard_normal(STRETCHED)
    signal -= SHEAR * (rng.random() - 0.5) * np.linspace(-0.5, 0.5, STRETCHED)
    return np.interp(np.linspace(0, STRETCHED - 1, LENGTH), np.arange(STRETCHED), signal)


def _smooth(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    reflected = np.pad(noise, len(SMOOTHING) // 2, mode="symmetric")
    return sliding_window_view(reflected, len(SMOOTHING)) @ (SMOOTHING / SMOOTHING.sum())


def _parse(content: bytes) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signals ``[5000, 40]`` and labels ``[5000]``, already in random order."""
    table = np.frombuffer(content, dtype="<f4").reshape(EXAMPLES, LENGTH + 1)
    return table[:, :-1].astype(np.float32), table[:, -1].astype(np.int64)


MNIST1D = Dataset(
    name="mnist1d",
    summary="5000 noisy curves of ten digits, 40 points each (Greydanus 2020, arXiv:2011.14439)",
    origin="a generator in evoptim (its numbers come from numpy's PCG64)",
    licence="Apache 2.0",
    size=4 * EXAMPLES * (LENGTH + 1),
    sha256="0abcc5ad78e11db4019e4edb0f501ce4818db01c74b80e2914820fc13ffd5af8",
    read=_generate,
    parse=_parse,
)
