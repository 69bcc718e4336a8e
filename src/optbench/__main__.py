"""`python -m optbench`."""

from optbench.cli.entry import main

if __name__ == "__main__":
    main()
