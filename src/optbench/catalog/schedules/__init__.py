"""Learning-rate schedules: `multiplier(step, steps, *, ...) -> float` for `step` in 0..steps-1, after warmup is taken off.

One that has a parameter `observed` is given the validation losses of the evaluations so far.
"""
