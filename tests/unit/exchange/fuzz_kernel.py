"""Tries broken and odd records on the kernel: `make test-fuzz`, and some of it in the normal tests.

A case is one record; a seed makes a contract with its table and views and the records to go with it. What
fails names its seed: `python -m tests.unit.exchange.fuzz_kernel --seed N` repeats it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from exchange.block import Record
from tests.unit.exchange.generated import make_case
from tests.unit.exchange.generated_mutations import mutated
from tests.unit.exchange.kernel_checker import Subject

CASES_A_SEED = 500
_PLAIN_EVERY = 7
"""The plain kernel is slow: it gets every so many batches."""
_BATCH = 25
_PROGRESS_S = 5


@dataclass
class Figures:
    """What was tried: cases, those that the reference delivers, those that each form of the kernel took."""

    cases: int = 0
    deliverable: int = 0
    taken: Counter[int] = field(default_factory=Counter)
    without_kernel: int = 0

    def add(self, other: Figures) -> None:
        self.cases += other.cases
        self.deliverable += other.deliverable
        self.taken += other.taken
        self.without_kernel += other.without_kernel


def run_seed(seed: int, cases: int = CASES_A_SEED, batch: int = _BATCH) -> Figures:
    """Try so many records of a seed's case.

    Raises: Differs, or whatever a kernel raised, with the seed noted.
    """
    r = random.Random(seed)
    try:
        subject = Subject(make_case(r))
        for number, records in enumerate(_batches(r, subject, cases, batch)):
            forms = (0, 1) if number % _PLAIN_EVERY == 0 else (0,)
            subject.check(records, filler=r, forms=forms)
            if number % _PLAIN_EVERY == 1:
                subject.check_batch(records)
    except Exception as error:
        error.add_note(f"repeat it: python -m tests.unit.exchange.fuzz_kernel --seed {seed} --batch {batch}")
        raise
    return Figures(cases, subject.deliverable, subject.taken, cases * (not subject.kernels))


def _batches(r: random.Random, subject: Subject, cases: int, batch: int) -> Iterator[list[Record]]:
    """A batch of records as they come, then mutations of them, until there are enough."""
    while cases > 0:
        seeds = subject.case.records(r, min(batch, cases))
        yield seeds
        cases -= len(seeds)
        for _ in range(9):
            count = min(batch, cases)
            if count:
                yield [mutated(r, r.choice(seeds), r.choice(seeds)) for _ in range(count)]
            cases -= count


def main() -> None:
    """Run as many cases as asked, on all cores, and tell how it goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=int(os.environ.get("EXCHANGE_FUZZ_CASES", "1000000")))
    parser.add_argument("--seed", type=int, help="run this one seed only")
    parser.add_argument("--first-seed", type=int, default=int(os.environ.get("EXCHANGE_FUZZ_SEED", "0")))
    parser.add_argument(
        "--batch", type=int, default=_BATCH, help="records in a block; with 1 each ends with its memory"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.seed is not None:
        _tell(run_seed(given.seed, batch=given.batch), time.monotonic())
        return
    seeds = range(given.first_seed, given.first_seed + -(-given.cases // CASES_A_SEED))
    _say(f"{given.cases} cases, seeds {seeds.start} to {seeds.stop - 1}, {given.workers} at a time")
    _run_all(seeds, given.workers, given.batch)


def _run_all(seeds: range, workers: int, batch: int) -> None:
    began = told = time.monotonic()
    figures = Figures()
    with ProcessPoolExecutor(workers) as pool:
        waiting = [pool.submit(run_seed, seed, batch=batch) for seed in seeds]
        try:
            for done in as_completed(waiting):
                figures.add(done.result())
                if time.monotonic() - told > _PROGRESS_S:
                    told = time.monotonic()
                    _tell(figures, began)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _tell(figures, began)


def _tell(figures: Figures, began: float) -> None:
    share = figures.taken[0] / max(figures.deliverable, 1)
    _say(
        f"{figures.cases} cases in {time.monotonic() - began:.0f} s; the reference delivers "
        f"{figures.deliverable}, the kernel took {figures.taken[0]} of them ({share:.1%}), "
        f"its plain form {figures.taken[1]}; {figures.without_kernel} cases had no kernel"
    )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
