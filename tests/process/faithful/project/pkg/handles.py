"""A module that holds what cannot be pickled."""

import contextvars
import logging
import sqlite3
import threading

LOCK = threading.Lock()
TABLE = sqlite3.connect(":memory:", check_same_thread=False)
TABLE.execute("create table words (word text)")
TABLE.execute("insert into words values ('hello')")
LOG = logging.getLogger(__name__)
USER = contextvars.ContextVar("USER", default="nobody")


def words():
    with LOCK:
        return [word for (word,) in TABLE.execute("select word from words")]


class Guarded:
    lock = threading.RLock()

    def __init__(self, value):
        self.value = value

    def get(self):
        with self.lock:
            return self.value
