"""What travels: compressors, memories, and messages as bytes."""

from __future__ import annotations

from consilience.messages.catalog import COMPRESSORS, MEMORIES, make_compressor
from consilience.messages.coding import Coded, Message, Weighted, decode, encode, from_bytes, num_bits
from consilience.messages.compressors import (
    QSGD,
    Compressor,
    Factors,
    Identity,
    Levels,
    LowRank,
    RandomK,
    SeededSparse,
    Sign,
    Signs,
    Sparse,
    Ternary,
    TopK,
    UnitSign,
)
from consilience.messages.memory import Differences, ErrorFeedback, Memory, NoMemory

__all__ = [
    "COMPRESSORS",
    "MEMORIES",
    "QSGD",
    "Coded",
    "Compressor",
    "Differences",
    "ErrorFeedback",
    "Factors",
    "Identity",
    "Levels",
    "LowRank",
    "Memory",
    "Message",
    "NoMemory",
    "RandomK",
    "SeededSparse",
    "Sign",
    "Signs",
    "Sparse",
    "Ternary",
    "TopK",
    "UnitSign",
    "Weighted",
    "decode",
    "encode",
    "from_bytes",
    "make_compressor",
    "num_bits",
]
