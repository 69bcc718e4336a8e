"""Muon, orthogonalised momentum for matrices: Jordan et al. 2024.

https://kellerjordan.github.io/posts/muon/

Weight decay is decoupled: weights shrink by lr x `weight_decay`; torch's default is 0.1, not 0. It takes 2-D weights only: give
the other parameters to another optimizer by a list of rules.
"""

USE = "torch.optim.Muon"
#: defaults of `optbench new`
STARTER = {
    "use": [
        {"parameters": "matrices", "use": "torch.optim.Muon", "lr": 0.02},
        {"parameters": "rest", "use": "torch.optim.AdamW", "lr": 1e-3},
    ]
}
