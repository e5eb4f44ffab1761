"""`python -m byol` (what torchrun starts)."""

from byol.cli import main

if __name__ == "__main__":
    main()
