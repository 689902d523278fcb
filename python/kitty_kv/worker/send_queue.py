"""What waits to be sent, in order, and how long it may wait."""

from __future__ import annotations

import math
from collections import deque

from .wire_frames import Event

# Well below a frame of a screen, 16 ms, and several tokens of a model that makes a thousand a second.
HOLD_S = 0.006
# The next token of a stream that has held some comes within this, mostly, and spares the wake of a thread.
GRACE_S = 0.002
NOW = -math.inf
NEVER = math.inf
_TAKE_ENTRIES = 512
_JOIN_CHARACTERS = 4096

Entry = bytes | Event


class SendQueue:
    """Frames and events in the order they were added; tokens of a stream that wait together become one event.

    Tokens are what there is most of, and a write costs more than they do. So those that follow less than ``HOLD_S``
    after the last ones of their stream went out may wait for more to come. All else is due at once, and takes along
    whatever was added before it.

    It has no clock and no lock: times are its caller's, in seconds.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._open_tokens: dict[str, Event] = {}
        self._sent: dict[str, float] = {}
        self.due = NEVER
        """From when on whoever comes next should send everything; ``NEVER`` while nothing waits."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def overdue(self) -> float:
        """When everything must go out even if nobody comes: a little later than ``due``, so that this is the exception."""
        return self.due + GRACE_S

    def add(self, entry: Entry, now: float) -> None:
        """Appends a frame or an event; ``["tok", stream, text, count, logprobs?]`` may be joined with others of its stream."""
        if isinstance(entry, list) and entry[0] == "tok":
            self._add_tokens(entry, now)
            return
        if isinstance(entry, list) and entry[0] == "end":
            self._open_tokens.pop(entry[1], None)
        self._entries.append(entry)
        self.due = NOW

    def take(self, now: float) -> list[Entry]:
        """Removes what is to be sent next: everything, unless there is very much of it."""
        taken = [self._entries.popleft() for _ in range(min(len(self._entries), _TAKE_ENTRIES))]
        for entry in taken:
            if isinstance(entry, list):
                self._note_sent(entry, now)
        self.due = NOW if self._entries else NEVER
        return taken

    def put_back(self, rest: bytes) -> None:
        """Returns the unsent end of what was taken last."""
        self._entries.appendleft(rest)
        self.due = NOW

    def _add_tokens(self, event: Event, now: float) -> None:
        stream = event[1]
        queued = self._open_tokens.get(stream)
        if queued is not None and len(queued[2]) < _JOIN_CHARACTERS:
            queued[2] += event[2]
            queued[3] += event[3]
            # Log probabilities, which a stream has in every event or in none.
            for more, held in zip(event[4:], queued[4:], strict=True):
                held.extend(more)
            return
        self._open_tokens[stream] = event
        self._entries.append(event)
        held_until = self._sent.get(stream, NOW) + HOLD_S
        self.due = min(self.due, held_until if held_until > now else NOW)

    def _note_sent(self, event: Event, now: float) -> None:
        if event[0] == "tok":
            self._sent[event[1]] = now
            if self._open_tokens.get(event[1]) is event:
                del self._open_tokens[event[1]]
        elif event[0] == "end":
            self._sent.pop(event[1], None)
