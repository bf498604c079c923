"""How much work the server takes on at once: prediction threads, a bounded queue before them, a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Generic, TypeVar

from modelramp_runtime.refusal import Kind, RequestError

T = TypeVar("T")


class Admission:
    """Prediction threads and the queue before them. Used from one event loop."""

    def __init__(self, threads: int, queue: int) -> None:
        self._threads = threads
        self._places = threads + queue
        self._taken = 0
        self._overdue = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")

    @property
    def is_stuck(self) -> bool:
        """Whether every thread is held by a prediction past its deadline: a thread cannot be interrupted."""
        return self._overdue >= self._threads

    @property
    def running(self) -> int:
        """How many predictions have begun or wait, given up on or not."""
        return self._taken

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """Run `work` on a prediction thread. Raises `RequestError`: 429 with no place free, 504 past `seconds`."""
        if self._taken >= self._places:
            raise RequestError(Kind.OVERLOADED, "The server has as many requests as it can take; try again.")
        self._taken += 1
        job = _Job(work, self._free)
        # What the model traces or logs belongs to this request.
        future = self._pool.submit(copy_context().run, job.work)
        timer = job.loop.call_later(max(seconds, 0), job.expire)
        try:
            return await job.answer
        except TimeoutError:
            if future.cancel():
                self._taken -= 1
            elif not job.is_done:
                job.is_overdue = True
                self._overdue += 1
            raise RequestError(Kind.TIMEOUT, "The prediction took longer than the server allows.") from None
        finally:
            timer.cancel()

    def _free(self, *, was_overdue: bool) -> None:
        self._taken -= 1
        self._overdue -= was_overdue

    def close(self) -> None:
        """Let nothing more start; a prediction past its deadline is left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Job(Generic[T]):
    """One piece of work: runs in a thread, tells the loop once, may be given up on before."""

    def __init__(self, work: Callable[[], T], on_done: Callable[..., None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[T] = self.loop.create_future()
        self.is_overdue = False
        self.is_done = False
        self._work, self._on_done = work, on_done

    def work(self) -> None:
        """Do the work and hand over what came of it; in the thread."""
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 whoever waits gets it, whatever it is
            self._tell(self._fail, error)
        else:
            self._tell(self._succeed, result)

    def _tell(self, say: Callable[..., None], what: object) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(say, what)

    def _succeed(self, result: T) -> None:
        self._end()
        if not self.answer.done():
            self.answer.set_result(result)

    def _fail(self, error: BaseException) -> None:
        self._end()
        if not self.answer.done():
            self.answer.set_exception(error)

    def _end(self) -> None:
        self.is_done = True
        self._on_done(was_overdue=self.is_overdue)

    def expire(self) -> None:
        """Stop waiting; the work itself cannot be stopped."""
        if not self.answer.done():
            self.answer.set_exception(TimeoutError())
