"""The header `Retry-After` in both of its forms, and in none."""

from datetime import UTC, datetime

import pytest

from rewards.retry_after import read_retry_after

NOW = datetime(2015, 10, 21, 7, 28, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 09:28:30 +0200", 30),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30),
        ("Wed Oct 21 07:28:30 2015", 30),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("9" * 5000, 1e9),
        (None, 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1.5", 0),
        ("inf", 0),
        ("\u0663", 0),
        ("Wed, 99 Oct 2015 07:28:30 GMT", 0),
    ],
)
def test_seconds_and_dates_are_read_and_nothing_else(value, seconds):
    assert read_retry_after(value, NOW) == seconds
