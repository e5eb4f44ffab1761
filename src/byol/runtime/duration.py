"""Durations in words."""


def in_words(seconds: float) -> str:
    """The duration in its two largest units: `3 d 4 h`, `1 h 5 min`, `2 min 3 s`, `4 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
