"""Tables that notebooks show for results."""

from html import escape


def html_table(title: str, rows: list[tuple[str, str]], link: tuple[str, str] | None = None) -> str:
    """HTML of a titled table of (name, value) rows, all text escaped, with an optional `link` (address, text) below."""
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows
    )
    anchor = f'<a href="{escape(link[0])}">{escape(link[1])}</a>' if link else ""
    return f"<div><b>{escape(title)}</b><table>{cells}</table>{anchor}</div>"
