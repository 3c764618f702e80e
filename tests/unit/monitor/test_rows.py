from __future__ import annotations

from exchange.account import Account
from exchange.change import Position, Reason
from monitor.rows import COLUMNS, account_row, placeholder_row, token


def account() -> Account:
    made = Account(
        "process", writer="stream-0", resource="d.a", topic="raw.a", minute=7, partition=2, made_at_ms=500
    )
    for index in range(3):
        made.came_in(Position(1, 2, index).hash64(), 2**63 + index)
        made.took(30)
    made.was_delivered("share.a.v", 11, [2**64 - 1, 1])
    made.was_filtered("share.a.v", 12)
    made.was_refused(Reason.LENGTH, "name", 13)
    return made


def test_row_holds_every_figure_of_the_account_by_column() -> None:
    row = dict(zip(COLUMNS, account_row(0, 41, account(), 600), strict=True))

    assert (row["account_offset"], row["stage"], row["changes"], row["refused"]) == (41, "process", 3, 1)
    assert row["content_sum"] == (3 * 2**63 + 3) % 2**64
    assert (row["view_topics"], row["view_delivered"], row["view_filtered"]) == (["share.a.v"], [1], [1])
    assert row["view_content_sums"] == [0]
    assert (row["refused_reasons"], row["refused_fields"], row["refused_changes"]) == (
        ["length"],
        ["name"],
        [1],
    )
    assert (row["made_at_ms"], row["readable_ms"], sum(row["delay_changes"])) == (500, 600, 3)


def test_placeholder_counts_nothing() -> None:
    row = dict(zip(COLUMNS, placeholder_row(0, 9, "gap", 3, 9, 60_000), strict=True))

    assert (row["stage"], row["changes"], row["first_offset"], row["last_offset"]) == ("gap", 0, 3, 9)


def test_token_repeats_for_the_same_rows_and_for_no_others() -> None:
    one, other = account_row(0, 41, account(), 600), account_row(0, 41, account(), 601)
    next_one = account_row(0, 42, account(), 600)

    assert token("accounts", "t", [one]) == token("accounts", "t", [account_row(0, 41, account(), 600)])
    tokens = {
        token("accounts", "t", [one]),
        token("accounts", "t", [other]),
        token("accounts", "t", [next_one]),
        token("accounts", "t", [one, next_one]),
        token("accounts", "u", [one]),
        token("other", "t", [one]),
    }
    assert len(tokens) == 6
