"""Commands and Python blocks that the pages tell a reader to type, in the page's order."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "tutorial.ipynb"]
PAGES += sorted((ROOT / "examples").glob("*.sbatch"))

PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCK_LINE = re.compile(r"^(?: {4}|(?:\$ )?(?=byol |torchrun |srun ))((?:\S*torchrun |srun |byol ).*)$", re.MULTILINE)
INLINE = re.compile(r"(?<!`)`(byol [^`]+)`(?!`)")


@dataclass(frozen=True)
class Command:
    """A command of a page."""

    place: int
    """Position in the page's text, in characters."""
    text: str

    @property
    def words(self) -> list[str]:
        """The command's name and its options, without what starts it (torchrun), and where its output goes."""
        words = shlex.split(self.text.partition(" > ")[0], comments=True)
        return words[words.index("byol") + 1 :]

    @property
    def is_run(self) -> bool:
        """Whether it says more than a name, as in `byol embed`."""
        return len(self.words) > 1 or not self.text.startswith("byol ") or self.words == ["recipes"]


def read(page: Path) -> str:
    """The text of a page; of a notebook its text cells, of a script its lines with the continued ones joined."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"\\\n\s*| \"\$@\"", "", text) if page.suffix == ".sbatch" else text


def commands(page: Path) -> list[Command]:
    """Every command of a page: in blocks, indented or fenced, and in the running text."""
    text = PYTHON_BLOCK.sub(lambda block: "\n" * block[0].count("\n"), read(page))
    found_commands = [Command(match.start(1), match[1]) for match in BLOCK_LINE.finditer(text)]
    found_commands += [Command(match.start(1), " ".join(match[1].split())) for match in INLINE.finditer(text)]
    return sorted(found_commands, key=lambda command: command.place)


def python_blocks(page: Path) -> list[str]:
    """Every Python block of a page."""
    return [] if page.suffix == ".ipynb" else PYTHON_BLOCK.findall(page.read_text())


def options(text: str) -> set[str]:
    """Every long option that a text names, but for those of the benchmarks' commands."""
    text = re.sub(r"^    python -m benchmarks.*$", "", text, flags=re.MULTILINE)
    return set(re.findall(r"(?<![\w-])--([a-z][a-z0-9.-]*[a-z0-9])", text))
