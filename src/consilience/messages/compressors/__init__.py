"""Compressors: fewer bits in the place of arrays."""

from __future__ import annotations

from consilience.messages.compressors.compressor import Compressor, Identity
from consilience.messages.compressors.low_rank import Factors, LowRank
from consilience.messages.compressors.quantised import QSGD, Levels, Sign, Signs, Ternary, UnitSign, randomly_rounded
from consilience.messages.compressors.sparse import RandomK, SeededSparse, Sparse, TopK, num_kept

__all__ = [
    "QSGD",
    "Compressor",
    "Factors",
    "Identity",
    "Levels",
    "LowRank",
    "RandomK",
    "SeededSparse",
    "Sign",
    "Signs",
    "Sparse",
    "Ternary",
    "TopK",
    "UnitSign",
    "num_kept",
    "randomly_rounded",
]
