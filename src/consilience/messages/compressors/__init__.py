"""Compressors: fewer bits in the place of arrays."""

from __future__ import annotations

from consilience.messages.compressors.compressor import Compressor, Identity
from consilience.messages.compressors.low_rank import Factors, LowRank
from consilience.messages.compressors.quantised import (
    QSGD,
    EvenSteps,
    Levels,
    Majority,
    Sign,
    Signs,
    Steps,
    Ternary,
    UnitSign,
    randomly_rounded,
)
from consilience.messages.compressors.sparse import RandomK, SeededSparse, Sparse, TopK, num_kept

__all__ = [
    "QSGD",
    "Compressor",
    "EvenSteps",
    "Factors",
    "Identity",
    "Levels",
    "LowRank",
    "Majority",
    "RandomK",
    "SeededSparse",
    "Sign",
    "Signs",
    "Sparse",
    "Steps",
    "Ternary",
    "TopK",
    "UnitSign",
    "num_kept",
    "randomly_rounded",
]
