"""Sessions: who owns which cache, and whether something runs on it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from ..config import KittyConfig
from ..engine.generation import Generation, Request, Result
from ..engine.kv_pool import KvPool
from ..engine.sequence import Sequence
from ..errors import ConfigError, KittyKvError
from .drafts import DraftModelDrafts, check_tokenizer
from .models import Key, ModelStore, ServedModel
from .prompts import Message, Prompt
from .saved_session import load_session
from .streams import StreamListener, StreamTable

MakeRequest = Callable[[Callable[[], list[int]]], Request]


@dataclasses.dataclass(slots=True, eq=False)
class Session:
    """One conversation: a model shared with others, tokens and cache of its own."""

    name: str
    config: KittyConfig
    key: Key
    model: ServedModel
    sequence: Sequence
    messages: list[Message] = dataclasses.field(default_factory=list)
    stream: str | None = None
    draft_key: Key | None = None  # of the draft model that its generations used last
    is_closed: bool = False

    def check_idle(self, attempt: str) -> None:
        """Raises KittyKvError ``session_busy`` while a generation runs on it."""
        if not self.sequence.is_busy and self.stream is None:
            return
        raise KittyKvError(
            f'Cannot {attempt} session "{self.name}": stream "{self.stream}" runs there; wait for its end or cancel it.',
            code="session_busy",
            details={"stream": self.stream},
        )


class Reservation:
    """A session's name, taken while its model is loading."""

    def __init__(self, name: str) -> None:
        self.name = name


class SessionTable:
    """All open sessions. Methods may be called from any thread; only ``open`` takes its time."""

    def __init__(self, models: ModelStore, streams: StreamTable) -> None:
        self._models = models
        self._streams = streams
        self._lock = threading.Lock()
        self._opening: dict[str, Reservation] = {}
        self._sessions: dict[str, Session] = {}

    def reserve(self, name: str) -> Reservation:
        """Takes a name for a session that ``open`` will fill.

        Raises:
            ConfigError: the name is in use.
        """
        with self._lock:
            if name in self._sessions or name in self._opening:
                raise ConfigError(f'Cannot open session "{name}": one of that name is open; choose another name.')
            self._opening[name] = Reservation(name)
            return self._opening[name]

    def open(
        self,
        reservation: Reservation,
        config: KittyConfig,
        model: str | None,
        dtype: str,
        device: str,
        max_bytes: int | None,
        saved: str | None = None,
    ) -> Session:
        """Opens a reserved session; loads its model if nobody has it loaded.

        Args:
            reservation: of its name.
            config: of its cache; one that goes on from a file keeps its own.
            model, dtype, device: as in ``load_model``.
            max_bytes: as in ``new_sequence``.
            saved: the file of a session to go on from.

        Raises:
            KittyKvError: the model cannot be loaded or use this cache, or the session was closed in the meantime.
        """
        try:
            key, served = self._models.acquire(model, dtype, device)
            try:
                messages: list[Message] = []
                if saved is not None:
                    config, sequence, messages = load_session(saved, served, max_bytes)
                else:
                    self._models.prepare(served, config)
                    sequence = served.new_sequence(config, max_bytes)
                session = Session(reservation.name, config, key, served, sequence, messages)
                self._add(reservation, session)
            except BaseException:
                self._models.release(key)
                raise
        finally:
            self.cancel(reservation)
        return session

    def fork(self, name: str, reservation: Reservation) -> Session:
        """Opens a reserved session with the history, the turns and the cache of another one; on the engine's thread.

        Raises:
            KittyKvError: ``session_not_found``, ``session_busy``, or it was closed in the meantime.
        """
        try:
            source = self.get(name)
            source.check_idle("fork")
            sequence = source.sequence.pool.fork(source.sequence)
            fork = Session(reservation.name, source.config, source.key, source.model, sequence, source.messages)
            # Like any session it keeps its model loaded.
            self._models.share(source.key)
            try:
                self._add(reservation, fork)
            except BaseException:
                self._release(fork)
                raise
        finally:
            self.cancel(reservation)
        return fork

    def cancel(self, reservation: Reservation) -> None:
        """Gives a reserved name back that nobody opens any more."""
        with self._lock:
            # Closed in the meantime, the name may be somebody else's by now.
            if self._opening.get(reservation.name) is reservation:
                del self._opening[reservation.name]

    def get(self, name: str) -> Session:
        """Raises KittyKvError ``session_not_found``."""
        with self._lock:
            session = self._sessions.get(name)
        if session is None:
            raise KittyKvError(
                f'Cannot find session "{name}": none of that name is open; open one first.',
                code="session_not_found",
                details={"session": name},
            )
        return session

    def generate(
        self,
        name: str,
        stream: str,
        prompt: Prompt,
        make_request: MakeRequest,
        credit: int,
        drafts: DraftModelDrafts | None = None,
    ) -> None:
        """Accepts a generation; its tokens and its one end are events. The model of ``drafts`` is loaded first.

        Raises:
            KittyKvError: ``session_not_found``, ``session_busy``, ``queue_full``, or what the prompt cannot be.
        """
        with self._lock:
            known = self._sessions.get(name)
        prompt.check_history(None if known is None else known.sequence)
        session = self.get(name)
        if session.stream is not None:
            raise KittyKvError(
                f'Cannot generate in session "{name}": stream "{session.stream}" still runs there; '
                "wait for its end or cancel it.",
                code="session_busy",
                details={"stream": session.stream},
            )
        prompt.check_model(session.model)

        def make(listener: StreamListener) -> Generation:
            request = make_request(lambda: prompt.tokens(session.model, session.sequence, session.messages))
            generation = Generation(session.sequence, session.model.codec, request, listener, credit)
            session.stream = stream
            return generation

        def prepare(generation: Generation) -> None:
            generation.speculation = drafts.speculation(self._load_draft(session, drafts.model))

        self._streams.start(
            stream,
            session.config.preset,
            make,
            lambda result: self._end(session, prompt, result),
            None if drafts is None else prepare,
        )

    def close(self, name: str) -> None:
        """Forgets a session, cancels its stream and frees its cache when that has ended.

        Raises:
            KittyKvError: ``session_not_found``.
        """
        with self._lock:
            if self._opening.pop(name, None) is not None:
                return
        session = self.get(name)
        with self._lock:
            del self._sessions[name]
            session.is_closed = True
            stream = session.stream
        if stream is None:
            self._release(session)
        else:
            self._streams.cancel(stream)

    def _load_draft(self, session: Session, path: str) -> KvPool:
        """Memory for caches of the draft model, which stays loaded for the session until that takes another or closes.

        Raises:
            KittyKvError: it cannot be loaded, or has another tokenizer.
        """
        _, dtype, device = session.key
        key, served = self._models.acquire(path, dtype, device)
        before, session.draft_key = session.draft_key, key
        if before is not None:
            self._models.release(before)
        check_tokenizer(session.model, served)
        # A draft's cache is small beside the model's, and exact drafts are accepted more often.
        return served.pool(KittyConfig(preset="fp16"))

    def _add(self, reservation: Reservation, session: Session) -> None:
        with self._lock:
            if self._opening.get(session.name) is not reservation:
                raise KittyKvError(
                    f'Cannot open session "{session.name}": it was closed while its model was loading.',
                    code="session_not_found",
                )
            self._sessions[session.name] = session

    def _end(self, session: Session, prompt: Prompt, result: Result | None) -> None:
        """On the engine's thread: the turn is over, well or not."""
        if result is not None and result.prompt_tokens:
            reply: Message = {"role": "assistant", "content": result.text}
            session.messages = [*session.messages, *prompt.messages, reply] if prompt.messages is not None else []
        with self._lock:
            session.stream = None
            is_closed = session.is_closed
        if is_closed:
            self._release(session)

    def _release(self, session: Session) -> None:
        self._streams.release(session.sequence)
        self._models.release(session.key)
        if session.draft_key is not None:
            self._models.release(session.draft_key)
