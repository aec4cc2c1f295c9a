"""`python -m dclust` is the same as `dclust`."""

from dclust.cli import main

if __name__ == "__main__":
    main()
