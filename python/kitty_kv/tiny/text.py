"""Reads the text that the model learns from."""

from __future__ import annotations

import lzma
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

SEPARATOR = "<|endoftext|>"
_SEPARATOR_LINE = re.compile(rf"^{re.escape(SEPARATOR)}$\n?", re.MULTILINE)


@dataclass(frozen=True)
class Corpus:
    """Documents of one text file, in its order."""

    name: str
    documents: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """UTF-8 bytes of all documents, separators not counted."""
        return sum(len(document.encode()) for document in self.documents)


def read_corpus(path: Path) -> Corpus:
    """Read a UTF-8 text, plain or ``.xz``; a line holding only ``<|endoftext|>`` separates documents.

    Raises:
        ConfigError: the file is missing, unreadable, not UTF-8, or holds no text.
    """
    try:
        raw = path.read_bytes()
        if path.suffix == ".xz":
            raw = lzma.decompress(raw)
    except OSError as error:
        raise ConfigError(
            f'Cannot read the text "{path}": {error.strerror or error}; give an existing plain or .xz file'
        ) from error
    except lzma.LZMAError as error:
        raise ConfigError(
            f'Cannot read the text "{path}": not a valid .xz file ({error}); compress it again'
        ) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f'Cannot read the text "{path}": byte {error.start} is not UTF-8; convert the file to UTF-8'
        ) from error
    documents = tuple(part for part in split_documents(text) if part.strip())
    if not documents:
        raise ConfigError(f'Cannot read the text "{path}": it holds no text; give a file with something to learn from')
    return Corpus(path.name, documents)


def split_documents(text: str) -> list[str]:
    """Split at separator lines; the newline before such a line stays with the document it ends."""
    return _SEPARATOR_LINE.split(text)


def hold_out(corpus: Corpus, share: float = 0.05) -> tuple[Corpus, Corpus]:
    """Keep the last `share` of the characters back, cut at a line where there is one; for runs without a validation file."""
    keep = int(sum(len(document) for document in corpus.documents) * (1 - share))
    head: list[str] = []
    tail: list[str] = []
    for document in corpus.documents:
        wanted = min(max(keep, 0), len(document))
        cut = wanted if wanted in (0, len(document)) else document.rfind("\n", 0, wanted) + 1 or wanted
        head.append(document[:cut])
        tail.append(document[cut:])
        keep -= len(document)
    kept = Corpus(corpus.name, tuple(filter(None, head)))
    held_out = Corpus(f"the last {share:.0%} of {corpus.name}", tuple(filter(None, tail)))
    if not kept.documents or not held_out.documents:
        raise ConfigError(f'Cannot hold back {share:.0%} of "{corpus.name}": the text is too short; give a longer one')
    return kept, held_out


def excerpt(corpus: Corpus, characters: int, documents: int = 6) -> Corpus:
    """About `characters` of a corpus: the beginnings of up to `documents` of them, evenly chosen."""
    chosen = corpus.documents[:: -(-len(corpus.documents) // documents)]
    return Corpus(f"part of {corpus.name}", tuple(document[: characters // len(chosen)] for document in chosen))
