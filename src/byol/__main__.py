"""Entry point of `python -m byol`, which torchrun starts."""

from byol.cli.main import main

if __name__ == "__main__":
    main()
