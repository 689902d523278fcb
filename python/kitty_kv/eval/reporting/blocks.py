"""What a report consists of, and how it looks as Markdown and as one HTML file that needs nothing else.

Everything that comes from results is text here and escaped where it is rendered; only figures are markup, and ours.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first ``left`` columns are names, the others figures."""

    head: tuple[str, ...]
    rows: list[list[str]]
    left: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A picture in SVG, made by this package, and the same in words."""

    svg: str
    words: str


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    text: str


Block = Heading | Text | Table | Figure | Command


def as_markdown(blocks: Sequence[Block]) -> str:
    """The figures as their words."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """A page without scripts or links to anything."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_plain(block.text)}"
    if isinstance(block, Table):
        marks = ["---" if at < block.left else "---:" for at in range(len(block.head))]
        lines = [block.head, *block.rows]
        shown = [f"| {' | '.join(map(_plain, cells))} |" for cells in lines]
        return "\n".join([shown[0], f"|{'|'.join(marks)}|", *shown[1:]])
    if isinstance(block, Command):
        # A fence longer than any run of back-quotes inside.
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        return f"{fence}sh\n{block.text}\n{fence}"
    return _plain(block.words if isinstance(block, Figure) else block.text)


def _plain(text: str) -> str:
    """No markup, one line."""
    escaped = re.sub(r"([\\|`*_\[\]#])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Table):
        names = ['<th scope="col" class="name">'] * block.left + ['<th scope="col">'] * (len(block.head) - block.left)
        head = "".join(f"{tag}{html.escape(cell)}</th>" for tag, cell in zip(names, block.head, strict=True))
        # Where the first name changes a line is drawn, so that what belongs together is seen.
        before = [None, *(cells[0] for cells in block.rows)]
        rows = "".join(
            f"<tr{_BEGINS if block.left > 1 and cells[0] != above else ''}>{_cells(cells, block.left)}</tr>\n"
            for cells, above in zip(block.rows, before, strict=False)
        )
        return f'<div class="wide" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'
    if isinstance(block, Figure):
        picture = f'<div class="wide" tabindex="0">\n{block.svg}\n</div>'
        return f"<figure>\n{picture}\n<figcaption>{html.escape(block.words)}</figcaption></figure>"
    if isinstance(block, Command):
        return f'<pre tabindex="0">{html.escape(block.text)}</pre>'
    return f"<p>{html.escape(block.text)}</p>"


def _cells(cells: Sequence[str], left: int) -> str:
    # A preset with changed fields may be broken between them.
    shown = [html.escape(cell).replace(":", ":<wbr>") for cell in cells[:left]]
    names = "".join(f'<th scope="row">{cell}</th>' for cell in shown)
    return names + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[left:])


_BEGINS = ' class="begins"'
_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f6f8fa; --ink: #1f2328; --quiet: #59636e; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #151b23; --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 88rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { margin-top: 1.8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th[scope="row"], th.name { text-align: left; }
th[scope="row"] { font-weight: 500; white-space: normal; overflow-wrap: anywhere; min-width: 5rem; max-width: 18rem; }
tr.begins > * { border-top: 2px solid var(--line); }
thead th { background: var(--soft); font-weight: 600; }
p, figcaption { max-width: 76rem; } figure { margin: 1rem 0; } figcaption { color: var(--quiet); }
pre { background: var(--soft); padding: 0.8rem; overflow-x: auto; }
@media (max-width: 40rem) {
  main { padding: 1rem; } th, td { padding: 0.3rem 0.45rem; } th[scope="row"] { max-width: 8rem; min-width: 4rem; }
}
"""
