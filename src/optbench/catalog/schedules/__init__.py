"""Learning-rate schedules: `multiplier(step, steps, *, ...) -> float` for `step` in 0..steps-1, after warmup is taken off."""
