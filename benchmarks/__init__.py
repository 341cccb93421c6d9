"""Measurements, side by side in one run; ratios count, not seconds or bytes.

`python -m benchmarks` runs the cases of `benchmarks.cases` on the systems of `benchmarks.systems`. The other modules
with a command line of their own (`python -m benchmarks.memory` and so on) measure what does not fit that pattern.
"""
