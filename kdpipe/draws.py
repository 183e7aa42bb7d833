"""Randomness as a function: a number depends on (seed, stream, row id, copy, position) and on nothing else.

A row's key is the start of its own SplitMix64 sequence, and a position is a place in that sequence. The mixer is the
one of SplitMix64 (Steele, Lea, Flood 2014, OOPSLA, "Fast splittable pseudorandom number generators", variant 13 of
Stafford's constants).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import xxhash

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

_CACHED = 1 << 14  # numbers mixed at once: all steps of the mixer find them in the processor's cache


def row_keys(seed: int, stream: str, ids: np.ndarray, copy: int) -> np.ndarray:
    """One key for each row: ids uint64 [n] or [n, 2] (the halves of a 128-bit id) -> uint64 [n].

    stream: names what is drawn ("tang/word/0"); two streams of one row have nothing in common.
    """
    start = xxhash.xxh3_64_intdigest(f"{seed}\0{copy}\0{stream}".encode())
    keys = np.full(len(ids), start, np.uint64)
    for half in np.atleast_2d(ids.T):
        keys ^= half
        _mix(keys)
    return keys


def uniforms(keys: np.ndarray, position: np.ndarray | int = 0) -> np.ndarray:
    """Keys uint64 and positions >= 0 of the same length (or one position) -> float64 in [0, 1), 53 random bits."""
    bits = np.atleast_1d(position).astype(np.uint64)
    bits += np.uint64(1)
    bits = keys + bits * _GOLDEN
    _mix(bits)
    bits >>= np.uint64(11)
    return bits * 2.0**-53


def bits_along(keys: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Keys [n] and runs of positions starts .. starts + lengths - 1 -> the 64 bits drawn at each, uint64 [total].

    `uniforms` of the same key and position is the number that the upper 53 of these bits make. A run's place in its
    sequence is linear in the position, so all that differs from row to row is added once for each row.
    """
    ends = np.cumsum(lengths)
    first = keys + (starts + 1 - (ends - lengths)).astype(np.uint64) * _GOLDEN  # wraps round, as the sequence does
    bits = np.repeat(first, lengths)
    bits += _steps(max(len(bits) - 1, 0).bit_length())[:len(bits)]
    _mix(bits)
    return bits


@cache
def _steps(doublings: int) -> np.ndarray:
    return np.arange(1 << doublings, dtype=np.uint64) * _GOLDEN


def below(bits: np.ndarray, p: float) -> np.ndarray:
    """Bits uint64 [n] -> whether the uniforms that they make are less than p, bool [n]."""
    limit = math.ceil(p * 2**53) << 11
    return bits <= np.uint64(limit - 1) if limit else np.zeros(len(bits), bool)


def whole(u: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """Uniforms in [0, 1) -> whole numbers 0 .. n - 1, each equally likely; int64."""
    return (u * n).astype(np.int64)


def _mix(x: np.ndarray) -> None:
    """SplitMix64's finaliser in place: every bit of the input moves about half of the output's bits."""
    for start in range(0, len(x), _CACHED):
        part = x[start:start + _CACHED]
        part ^= part >> np.uint64(30)
        part *= _M1
        part ^= part >> np.uint64(27)
        part *= _M2
        part ^= part >> np.uint64(31)
