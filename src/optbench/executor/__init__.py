"""Many trials on the devices there are. `local` runs one trial process at a time on this machine."""
