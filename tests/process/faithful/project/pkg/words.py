"""For an import of all names."""

__all__ = ["shout"]


def shout(text):
    return text.upper() + _mark()


def _mark():
    return "!"
