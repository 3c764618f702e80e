from __future__ import annotations

from exchange.engine.memory import Memory


def test_entries_of_all_dictionaries_together_are_bounded() -> None:
    memory = Memory(max_entries=10)
    first, second = memory.dictionary(), memory.dictionary()
    for number in range(100):
        memory.keep(first if number % 3 else second, b"%d" % number, number)
        assert len(first) + len(second) <= 10
        assert (first if number % 3 else second)[b"%d" % number] == number
