"""Randomness as a function: a number depends on (seed, stream, row id, copy, position) and on nothing else.

A row's key is the start of its own SplitMix64 sequence, and a position is a place in that sequence. The mixer is the
one of SplitMix64 (Steele, Lea, Flood 2014, OOPSLA, "Fast splittable pseudorandom number generators", variant 13 of
Stafford's constants).
"""

from __future__ import annotations

import numpy as np
import xxhash

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


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


def whole(u: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """Uniforms in [0, 1) -> whole numbers 0 .. n - 1, each equally likely; int64."""
    return (u * n).astype(np.int64)


def _mix(x: np.ndarray) -> None:
    """SplitMix64's finaliser in place: every bit of the input moves about half of the output's bits."""
    x ^= x >> np.uint64(30)
    x *= _M1
    x ^= x >> np.uint64(27)
    x *= _M2
    x ^= x >> np.uint64(31)
