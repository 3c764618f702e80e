from __future__ import annotations

import weakref

from exchange.admin import admin_client

NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}


def test_a_connection_stays_while_it_is_held_and_goes_at_the_next_one_when_it_is_not() -> None:
    held = admin_client(NOWHERE)
    over = weakref.ref(admin_client(NOWHERE))
    assert over() is not None
    admin_client(NOWHERE)
    assert over() is None
    again = weakref.ref(held)
    admin_client(NOWHERE)
    assert again() is held
