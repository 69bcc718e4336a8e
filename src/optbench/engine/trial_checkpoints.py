"""Checkpoints of one trial: written only if the trial can resume from them exactly, with messages for the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optbench.engine import checkpoint as checkpoints
from optbench.engine.progress import Progress
from optbench.engine.resumability import ResumeCheck
from optbench.engine.session import Session


class TrialCheckpoints:
    """Writes and reads the checkpoints of one trial.

    `problem` is the last reason why no checkpoint could be written, as a clause; `message` is a message to display.
    """

    def __init__(self, path: Path | None, trial_id: str) -> None:
        self._path, self._trial_id = path, trial_id
        self._saved_step: int | None = None  # of the checkpoint on disk
        self._blocked = False  # whether the last check failed
        self.problem = ""
        self.message = ""

    def set_session(self, session: Session) -> None:
        """Set the session, which must not have taken a step."""
        self._session, self._check = session, ResumeCheck(session)

    def read(self) -> dict[str, Any] | None:
        """Return the state of the checkpoint; None if there is none that can be used."""
        if self._path is None:
            return None
        try:
            return checkpoints.read(self._path, self._trial_id, self._check.packages)
        except checkpoints.Unusable as error:
            self.refuse(str(error))
            return None

    def resumed(self, progress: Progress, state: dict[str, Any]) -> None:
        """Record that the trial resumes from this state."""
        self._saved_step, self.problem = progress.step, str(state.get("resume_note", ""))

    def refuse(self, reason: str) -> None:
        """Record that the checkpoint on disk cannot be used."""
        self._saved_step = None
        self.message = f"its checkpoint cannot be used: {reason}. It starts again from step 0"

    def check(self) -> bool:
        """Return whether the trial could resume exactly from a checkpoint taken now. Rank 0 decides for all ranks."""
        obstacle = self._session.ranks.compute_on_first(self._check.obstacle)
        if obstacle and not self.problem:
            self.message = f"it is not checkpointed: {obstacle}. After an interruption it {self._restart}"
        self.problem, self._blocked = obstacle or self.problem, bool(obstacle)
        return not obstacle

    def save(self, progress: Progress) -> None:
        """Write a checkpoint if the trial can resume from it exactly; otherwise keep the earlier one. Raises as `checkpoint.save`.

        Call it on all ranks; rank 0 writes.
        """
        if self._path is not None and self.check():
            state = progress.state(self._session, whole=self._check.whole) | {"resume_note": self.problem}
            if self._session.ranks.is_first:
                checkpoints.save(self._path, state)
            self._saved_step = progress.step

    @property
    def consequence(self) -> str:
        """Return where the trial restarts after an interruption, as a clause; empty if it resumes from the current step."""
        return f"; it is not checkpointed ({self.problem}) and {self._restart}" if self._blocked else ""

    @property
    def _restart(self) -> str:
        return "starts again from step 0" if not self._saved_step else f"resumes from step {self._saved_step}"

    def take_message(self) -> str:
        """Return the message and clear it."""
        message, self.message = self.message, ""
        return message
