"""Forwards questions to DNS servers, and returns their answers.

Against forged answers, each question has its own connected socket with a random port and a random id: the kernel only
accepts packets from the server's address, and a packet only counts with that id and that question.

If a server is silent for STEP seconds, the next one is asked, but a late answer of the first still counts. The silent
one comes last from then on, and gets a copy of a question every 30 s. So a dead server costs its time-out once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from dockercni.resolver import wire
from dockercni.resolver.exchange import Datagram, Stream
from dockercni.resolver.loop import Loop, Timer
from dockercni.resolver.upstream import Server, Upstream
from dockercni.resolver.wire import Question

STEP: Final = 1.5  # seconds of a server's silence until the next one is asked
TIME: Final = 4.8  # seconds for a question; the C library asks again after 5
_UNDER_WAY: Final = 1024  # questions at a time, with up to three descriptors each
_OF_ONE: Final = 256  # questions of one container at a time, so that others are served beside a flood
_FAILURES: Final = {wire.FORMERR, wire.SERVFAIL, wire.NOTIMP, wire.REFUSED}  # codes after which another server is asked

Reply = Callable[[bytes], None]


class Forwarder:
    """Forwards a limited number of questions at a time; above that it answers SERVFAIL at once."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._under_way: dict[str, set[_Forwarded]] = {}  # by asker
        self._total = 0

    def ask(self, message: bytes, asked: Question, asker: str, upstream: Upstream, reply: Reply, *, tcp: bool) -> None:
        """Forward a container's question. Calls `reply` once, with the response, unless it is abandoned."""
        if self._total >= _UNDER_WAY or len(self._under_way.get(asker, ())) >= _OF_ONE:
            reply(wire.response(asked, wire.SERVFAIL))
            return
        self._begin(message, asked, asker, upstream, upstream.in_order(), reply, tcp=tcp)
        for server in upstream.due():
            if self._total < _UNDER_WAY:
                self._begin(message, asked, asker, upstream, [server], lambda _: None, tcp=False)

    def abandon(self, asker: str) -> None:
        """Drop a container's questions: its namespace is going to be closed."""
        for one in self._under_way.pop(asker, ()):
            one.close()
            self._total -= 1

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
        def done(response: bytes) -> None:
            self._total -= 1
            self._under_way[asker].discard(one)
            if not self._under_way[asker]:
                del self._under_way[asker]
            reply(response)

        one = _Forwarded(self._loop, message, asked, upstream, iter(order), done, tcp=tcp)
        self._total += 1
        self._under_way.setdefault(asker, set()).add(one)
        one.ask()


class _Forwarded:
    """One question, until it is answered, every server has failed, or its time is over."""

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
        self._failed: set[Server] = set()  # not to be asked again
        self._step: Timer | None = None
        self._end = loop.later(TIME, self._fail)
        self._failure = wire.response(asked, wire.SERVFAIL)  # the answer if no server has a better one

    def ask(self) -> None:
        """Ask the next server. If there is none, those that were asked may still answer."""
        for server in self._order:
            if server not in self._failed and self._asks(server):
                self._step = self._loop.later(STEP, self._late)
                return
        if not self._open:
            self._fail()

    def _asks(self, server: Server) -> bool:
        number = int.from_bytes(os.urandom(2), "big")
        try:
            made = self._upstream.socket(server, self._way.KIND)
        except OSError:  # no descriptor or thread is left, which says nothing about the server
            return False
        try:
            exchange = self._way(self._loop, made, server, wire.with_id(self._message, number))
        except OSError:  # there is no route to it
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
        """Handle a message of a server; None means that none will come."""
        server = self._open[exchange]
        if answer is None:
            server.failed()
        elif not wire.answers(answer, number, self._asked):  # forged or damaged: the right one may still come
            return
        else:
            server.answered()
            answer = wire.with_id(answer, self._asked.id)
            if wire.rcode(answer) not in _FAILURES:
                self._finish(answer)
                return
            self._failure = answer
        self._failed.add(server)
        del self._open[exchange]
        exchange.close()
        if not self._open:  # else the others may still answer
            self._stop_waiting()
            self.ask()

    def _fail(self) -> None:
        self._finish(self._failure)

    def close(self) -> None:
        """Stop, without an answer."""
        self._stop_waiting()
        self._end.cancel()
        for exchange in self._open:
            exchange.close()
        self._open.clear()

    def _finish(self, response: bytes) -> None:
        self.close()
        self._done(response)

    def _stop_waiting(self) -> None:
        if self._step:
            self._step.cancel()
            self._step = None
