"""What notebooks show of a result: a small table, whatever is in it shown as text."""

from html import escape


def html_table(title: str, rows: list[tuple[str, str]], link: tuple[str, str] | None = None) -> str:
    """HTML of a titled table of (name, value); `link`: (address, text)."""
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows
    )
    end = f'<a href="{escape(link[0])}">{escape(link[1])}</a>' if link else ""
    return f"<div><b>{escape(title)}</b><table>{cells}</table>{end}</div>"
