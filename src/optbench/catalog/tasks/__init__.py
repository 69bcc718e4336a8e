"""Tasks: what a model predicts, and how outputs are compared with targets.

A file has `LOSS` and `METRICS` (the defaults of a workload; the first metric is the final metric and that of a target without a
name) and the functions of `catalog/task_types.py`.
"""
