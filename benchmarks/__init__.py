"""Benchmarks of optbench against plain PyTorch loops. `make bench` runs all of them.

Times are not asserted: they are reported as ratios with their range, in `results/bench/`.
"""
