"""The HTML page of a report: one file that needs no network, made by a template that escapes all its input."""

import base64
import gzip
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

FILES = resources.files("byol.report") / "page_files"
SCRIPTS = (
    "elements.js",
    "start.js",
    "curves.js",
    "study.js",
    "views.js",
    "map.js",
    "galleries.js",
    "parts.js",
    "classes.js",
)


CHANGE_SCRIPTS = ("elements.js", "change.js")
AUDIT_SCRIPTS = ("elements.js", "audit.js")


def render(**content: Any) -> str:
    """The HTML of a report. The template escapes names; scripts receive them only as JSON."""
    return _rendered("page.html", SCRIPTS, library=plotting_library(), **content)


def render_change(**content: Any) -> str:
    """The HTML of the page of two encoders side by side (`report.change`)."""
    return _rendered("change.html", CHANGE_SCRIPTS, **content)


def render_classifier(**content: Any) -> str:
    """The HTML of the page about a classifier (`report.classifier`), which needs no script."""
    return _rendered("classifier.html", (), **content)


def render_audit(**content: Any) -> str:
    """The HTML of the page of an audit (`report.audit`)."""
    return _rendered("audit.html", AUDIT_SCRIPTS, **content)


def _rendered(template: str, scripts: tuple[str, ...], library: str = "", **content: Any) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return environment.get_template(template).render(
        style=Markup(_text("style.css")),
        scripts=Markup("".join(map(_text, scripts))),
        library=Markup(library),
        **content,
    )


@cache
def plotting_library() -> str:
    """plotly.js, compressed by gzip, in base64: 2 MB in place of 4.8 MB."""
    import plotly

    code = (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(code, 9, mtime=0)).decode()


def _text(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")
