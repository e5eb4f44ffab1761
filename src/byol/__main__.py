"""`python -m byol` (what torchrun starts)."""

from byol.cli.main import main

if __name__ == "__main__":
    main()
