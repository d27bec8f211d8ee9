"""Questions about names that are not ours, on their way to a server and back.

Each is asked by a socket of its own, with an id and a port that are random, and connected: so the kernel takes answers
from the server alone, and of those only one with that id and question counts. A server that says nothing for `STEP`
seconds does not stop the others from being asked, and its late answer still counts.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from dockercni.resolver import wire
from dockercni.resolver.exchange import Datagram, Stream
from dockercni.resolver.loop import Loop, Timer
from dockercni.resolver.upstream import Server, Upstream
from dockercni.resolver.wire import Question

STEP: Final = 1.5  # seconds until the next server is asked
TIME: Final = 4.8  # seconds until the asker hears that it did not work: it asks again after 5
_UNDER_WAY: Final = 1024  # questions: each has a descriptor or a few
_OF_ONE: Final = 256  # questions of one container
_FAILURES: Final = {wire.FORMERR, wire.SERVFAIL, wire.NOTIMP, wire.REFUSED}  # another server may know better

Reply = Callable[[bytes], None]


class Forwarder:
    """Hands questions on, as many at a time as is bearable; others hear at once that it did not work."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._under_way: Counter[str] = Counter()

    def ask(self, message: bytes, asked: Question, asker: str, upstream: Upstream, reply: Reply, *, tcp: bool) -> None:
        """Have a container's question answered: `reply` is called with a response, once."""
        if self._under_way.total() >= _UNDER_WAY or self._under_way[asker] >= _OF_ONE:
            reply(wire.response(asked, wire.SERVFAIL))
            return
        self._begin(message, asked, asker, upstream, upstream.in_order(), reply, tcp=tcp)
        for server in upstream.due():
            if self._under_way.total() < _UNDER_WAY:
                self._begin(message, asked, asker, upstream, [server], lambda _: None, tcp=False)

    def _begin(
        self,
        message: bytes,
        asked: Question,
        asker: str,
        upstream: Upstream,
        order: list[Server],
        reply: Reply,
        *,
        tcp: bool,
    ) -> None:
        self._under_way[asker] += 1

        def done(response: bytes) -> None:
            self._under_way[asker] -= 1
            if not self._under_way[asker]:
                del self._under_way[asker]
            reply(response)

        _Forwarded(self._loop, message, asked, upstream, iter(order), done, tcp=tcp).ask()


class _Forwarded:
    """One question, until it is answered, nobody is left to ask, or its time is over."""

    def __init__(
        self,
        loop: Loop,
        message: bytes,
        asked: Question,
        upstream: Upstream,
        order: Iterator[Server],
        done: Reply,
        *,
        tcp: bool,
    ) -> None:
        self._loop = loop
        self._message = message
        self._asked = asked
        self._upstream = upstream
        self._order = order
        self._done = done
        self._way: type[Stream | Datagram] = Stream if tcp else Datagram
        self._open: dict[Stream | Datagram, Server] = {}
        self._heard_out: set[Server] = set()  # asking them again would be in vain
        self._step: Timer | None = None
        self._end = loop.later(TIME, self._fail)
        self._failure = wire.response(asked, wire.SERVFAIL)

    def ask(self) -> None:
        """Ask the next server; if there is none, wait for those that were asked."""
        for server in self._order:
            if server not in self._heard_out and self._asks(server):
                self._step = self._loop.later(STEP, self._late)
                return
        if not self._open:
            self._fail()

    def _asks(self, server: Server) -> bool:
        number = int.from_bytes(os.urandom(2), "big")
        try:
            made = self._upstream.socket(server, self._way.KIND)
        except OSError:  # no descriptor, no thread: not the server's fault
            return False
        try:
            exchange = self._way(self._loop, made, server, wire.with_id(self._message, number))
        except OSError:  # there is no way to it
            made.close()
            server.failed()
            return False
        self._open[exchange] = server
        exchange.listen(partial(self._heard, exchange, number))
        return True

    def _late(self) -> None:
        for server in self._open.values():
            server.failed()
        self.ask()

    def _heard(self, exchange: Stream | Datagram, number: int, answer: bytes | None) -> None:
        """A message of that server has come, or none will come."""
        server = self._open[exchange]
        if answer is None:
            server.failed()
        elif not wire.answers(answer, number, self._asked):  # forged, or of nobody who would be worth hearing
            return
        else:
            server.answered()
            answer = wire.with_id(answer, self._asked.id)
            if wire.rcode(answer) not in _FAILURES:
                self._finish(answer)
                return
            self._failure = answer
        self._heard_out.add(server)
        del self._open[exchange]
        exchange.close()
        if not self._open:  # else the others may still answer
            self._stop_waiting()
            self.ask()

    def _fail(self) -> None:
        self._finish(self._failure)

    def _finish(self, response: bytes) -> None:
        self._stop_waiting()
        self._end.cancel()
        for exchange in self._open:
            exchange.close()
        self._open.clear()
        self._done(response)

    def _stop_waiting(self) -> None:
        if self._step:
            self._step.cancel()
            self._step = None
