"""The command `byol explore`. Torch is imported only when it runs."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from byol.cli.options import Commands, DataPlace, Device, EncoderName, Place


@dataclass(frozen=True)
class Explore:
    """Explore your own images on a local page: search by example, browse a map, find duplicates, name and export groups."""

    run: EncoderName
    """Encoder: a run directory, an encoder folder, or timm:MODEL:pretrained."""
    data: str = ""
    """Images, in any form that pretrain takes. Default: the images that the run was trained on."""
    out: str = ""
    """Folder for labels, exported lists, and what is kept for the next start. Default: explore/ in the run; runs/NAME/explore if the encoder is not a folder."""
    first: str = ""
    """List of images to label first, as `byol select` writes it: a CSV with a column file, or a text file with a name on each line."""
    open: bool = True
    """Open the page in the browser."""
    port: int = 0
    """Port on 127.0.0.1. 0: any free port."""
    place: Place = field(default_factory=DataPlace)
    device: Device = "auto"


def run_explore(options: Explore) -> int:
    """Serves the page until Ctrl-C."""
    from byol.assembly.subject import open_subject, trained_images, with_trained_columns
    from byol.cli.console import Console
    from byol.data.image_list import read_list
    from byol.explore.library import open_library
    from byol.explore.server import serve
    from byol.runtime.hardware import choose_device
    from byol.runtime.listener import Listener
    from byol.runtime.paths import require_outside, user_path

    source = trained_images(options.run, options.place.spec(options.data), listener=Listener(say=print))
    first = read_list(user_path(options.first), source).indices if options.first else []
    subject = open_subject(options.run, source)
    place = with_trained_columns(options.run, options.place.spec(options.data))
    device = choose_device(options.device)
    out = Path(options.out) if options.out else subject.home / "explore"
    if options.out:
        require_outside(out, options.data)
    with Console() as console:
        library, skipped = open_library(
            subject, source, device, out, place=place, first=first, listener=console.listener
        )
    for name, reason in skipped.reasons:
        print(f"  skipped {name}: {reason}", file=sys.stderr)

    def ready(address: str) -> None:
        print(f"{len(library):,} images of {source.description}: {address} (Ctrl-C stops it)", flush=True)
        if options.open:
            import webbrowser

            webbrowser.open(address)

    serve(library, options.port, ready)
    return 0


COMMANDS: Commands = {
    "explore": (Explore, run_explore),
}
