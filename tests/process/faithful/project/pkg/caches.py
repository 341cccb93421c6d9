"""Caches and dispatch."""

import functools

from .kinds import Colour, Point


@functools.lru_cache(maxsize=None)
def slow(number):
    return object()


@functools.singledispatch
def describe(value):
    return "something"


@describe.register
def _(value: Point):
    return "a point"


@describe.register(Colour)
def _(value):
    return "a colour"


class Lazy:
    computed = 0

    @functools.cached_property
    def value(self):
        type(self).computed += 1
        return self.computed


def traced(function):
    @functools.wraps(function)
    def inner(*args):
        return ["traced", function(*args)]

    return inner
