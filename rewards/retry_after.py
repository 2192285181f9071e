"""When a server wants to be asked again: the header `Retry-After` (RFC 9110, 10.2.3)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_S = 1e9


def read_retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds from now, of a number of seconds or of a date; 0 for none, for the past, and for what is neither."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_S)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)  # -0000, and dates that name no zone
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
