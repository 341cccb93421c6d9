"""State of the module's own."""

import sys

_settings = {}
LIMIT = None

sys.__dict__.setdefault("faithful_loads", []).append(__name__)


def init(value):
    global LIMIT
    LIMIT = value
    _settings["value"] = value


def value():
    return _settings.get("value"), LIMIT
