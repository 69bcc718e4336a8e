"""What optbench costs and saves, measured against plain PyTorch loops that are written out here. `make bench` runs it all.

Nothing is asserted about time: the figures are reported, as ratios with their spread, in `results/bench/`.
"""
