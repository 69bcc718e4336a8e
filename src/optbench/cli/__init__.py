"""The command line. Commands parse options, call other packages and print; `entry.main` is the console script."""
