"""What travels: compressors, memories, and messages as bytes."""

from __future__ import annotations

from consilience.messages.catalog import COMPRESSORS, MEMORIES, make_compressor
from consilience.messages.coding import Coded, Message, Weighted, decode, encode, from_bytes, num_bits, packed
from consilience.messages.compressors import (
    QSGD,
    Compressor,
    EvenSteps,
    Factors,
    Identity,
    Levels,
    LowRank,
    Majority,
    RandomK,
    SeededSparse,
    Sign,
    Signs,
    Sparse,
    Steps,
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
    "EvenSteps",
    "Factors",
    "Identity",
    "Levels",
    "LowRank",
    "Majority",
    "Memory",
    "Message",
    "NoMemory",
    "RandomK",
    "SeededSparse",
    "Sign",
    "Signs",
    "Sparse",
    "Steps",
    "Ternary",
    "TopK",
    "UnitSign",
    "Weighted",
    "decode",
    "encode",
    "from_bytes",
    "make_compressor",
    "num_bits",
    "packed",
]
