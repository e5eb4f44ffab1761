"""The documentation as a site: `make docs`. Reads the pages of this folder, README.md and the package itself."""

import contextlib
import io
import os
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import byol
from byol.cli.main import COMMANDS, main

project = "byol"
author = "The byol developers"
release = version = byol.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebook carries the outputs of a real run; a test executes it
default_role = "code"  # docstrings write `name`, as Markdown does
python_maximum_signature_line_length = 90
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
html_theme = "furo"
html_title = f"byol {byol.__version__}"
html_show_sourcelink = False
html_copy_source = False


class Names(SphinxDirective):
    """The documentation of each name of `byol.__all__`."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for name in byol.__all__:
            if name.startswith("__"):
                continue
            kind = "autoclass" if isinstance(getattr(byol, name), type) else "autofunction"
            lines += [f".. {kind}:: byol.{name}", *(["   :members:"] if kind == "autoclass" else []), ""]
        return self.parse_text_to_nodes("```{eval-rst}\n" + "\n".join(lines) + "\n```")


class Help(SphinxDirective):
    """A section for each command with the text of its --help."""

    def run(self) -> list[nodes.Node]:
        return [
            section
            for name in COMMANDS
            for section in self.parse_text_to_nodes(
                f"## {name}\n\n```text\n{printed_help(name)}\n```", allow_section_headings=True
            )
        ]


def printed_help(command: str) -> str:
    """What `byol COMMAND --help` prints, as wide as a page."""
    printed = io.StringIO()
    os.environ.update(COLUMNS="84", NO_COLOR="1")
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return printed.getvalue().rstrip()


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers both directives."""
    app.add_directive("byol-names", Names)
    app.add_directive("byol-help", Help)
    return {"parallel_read_safe": True}
