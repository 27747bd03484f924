"""``python -m dashpot``."""

from dashpot.cli import main

if __name__ == "__main__":
    main()
