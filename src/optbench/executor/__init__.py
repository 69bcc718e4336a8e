"""Execution of trials: the interface of engines (`api`), the run that feeds them (`dispatch`), processes on this machine (`local`)."""
