"""Ratings of items by users, as the tasks recommendation and ranking use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError
from optbench.plurals import counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Integers = npt.NDArray[np.integer[Any]]

Task = Literal["recommendation", "ranking"]
_FEWEST = 10  # ratings, so that each split has one


def splits(
    users: Integers,
    items: Integers,
    ratings: Any,
    times: Any,
    task: Task,
    source: str,
    fingerprint: str = "",
) -> Splits:
    """Return ratings for training, validation and test (80, 10 and 10 %, in a fixed random order), or the choices of a ranking.

    Ranking: every rated item was chosen; the last choice of each user with at least 3 is for the test, the one before for validation.
    Ids are numbered from 0 in increasing order.
    """
    import numpy as np

    known_users, user = np.unique(users, return_inverse=True)
    known_items, item = np.unique(items, return_inverse=True)
    user, item = user.astype(np.int32), item.astype(np.int32)
    ratings = np.asarray(ratings, dtype=np.float32)
    notes: tuple[str, ...] = ()
    if task == "ranking":
        rows = _choices(user, item, times)
        if not len(rows[2]):
            raise OptbenchError(f"{source}: expected users with at least 3 ratings; found none")
    else:
        if len(ratings) < _FEWEST:
            raise OptbenchError(f"{source}: expected at least {_FEWEST} ratings; found {len(ratings)}")
        if not np.ptp(ratings):
            raise OptbenchError(
                f"{source}: expected different ratings to predict; found {ratings[0]:g} in all {len(ratings):,}; "
                "for choices without ratings, use task: ranking"
            )
        repeated = len(ratings) - len(np.unique(user.astype(np.int64) * len(known_items) + item))
        if repeated:
            notes = (
                f"{counted(repeated, 'rating')} of {len(ratings):,} repeat a user and an item, also across splits",
            )
        order = np.random.RandomState(0).permutation(len(user))
        first, second = int(0.8 * len(order)), int(0.9 * len(order))
        rows = [order[:first], order[first:second], order[second:]]
    if task == "ranking":
        parts = [Split({"user": user[of_split]}, item[of_split]) for of_split in rows]
    else:
        parts = [
            Split({"user": user[of_split], "item": item[of_split]}, ratings[of_split]) for of_split in rows
        ]
    facts = {
        "num_users": len(known_users),
        "num_items": len(known_items),
        "mean_rating": float(ratings[rows[0]].mean(dtype=np.float64)),  # of the training split
    }
    sizes = [len(of_split) for of_split in rows]
    info = DataInfo(sizes[0], sizes[1], sizes[2], (), 0, source, fingerprint, task, facts)
    return Splits(parts[0], parts[1], parts[2], info, notes=notes)


def _choices(user: Integers, item: Integers, times: Any) -> list[Integers]:
    """Return the rows of training, validation and test."""
    import numpy as np

    order = np.lexsort((item, times, user))
    sizes = np.bincount(user)
    from_end = np.concatenate([np.arange(size)[::-1] for size in sizes if size])
    enough = sizes[user[order]] >= 3
    validation, test = (enough & (from_end == place) for place in (1, 0))
    return [order[chosen] for chosen in (~(validation | test), validation, test)]
