"""Learning-rate schedules: `multiplier(step, steps, *, ...) -> float` for `step` in 0..steps-1, without the warmup.

A parameter `observed` receives the validation losses of all earlier evaluations.
"""
