"""Import logs of other tools into the store: readers for each kind of log, one writer for all."""
