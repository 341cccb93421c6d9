"""Filled by the plug-ins when they are imported."""

NAMES = {}


def register(name):
    def note(value):
        NAMES[name] = value
        return value

    return note
