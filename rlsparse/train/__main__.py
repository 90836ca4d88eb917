"""`python -m rlsparse.train`."""

from rlsparse.train.command import main

if __name__ == "__main__":
    main()
