"""``python -m rangemask``."""

from rangemask.cli.main import main

if __name__ == "__main__":
    main()
