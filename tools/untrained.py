"""The encoder of a run with new weights, as an encoder folder: what a training has to beat.

python tools/untrained.py RUN FOLDER --seed 0
"""

import argparse
from pathlib import Path

from byol.assembly.networks import seeded
from byol.encoder.encoder_file import read_description, rebuild, save_encoder


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    description = read_description(options.run)
    with seeded(options.seed):
        module = rebuild(description)
    options.folder.mkdir(parents=True)
    save_encoder(options.folder, module, description)


if __name__ == "__main__":
    main()
