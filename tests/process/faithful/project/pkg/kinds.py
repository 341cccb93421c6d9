"""Classes of many kinds."""

from __future__ import annotations

import abc
import enum
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: int
    colour: Colour = Colour.RED


@dataclass(frozen=True, eq=True)
class Key:
    name: str


@dataclass(slots=True)
class Slotted:
    point: Point
    tags: list[str] = field(default_factory=list)


class Pair(NamedTuple):
    left: int
    right: Colour


@runtime_checkable
class HasArea(Protocol):
    def area(self) -> float: ...


class Shape(abc.ABC):
    known: dict[str, type] = {}

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Shape.known[cls.__name__] = cls

    @abc.abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2


class Meta(type):
    def __contains__(cls, value):
        return isinstance(value, cls)


class WithMeta(metaclass=Meta):
    pass


class Box(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content


class Outer:
    class Inner:
        class Innermost:
            pass

    @classmethod
    def make(cls):
        return cls.Inner()

    @staticmethod
    def add(one, two):
        return one + two


class OnlyOne:
    _it = None

    def __new__(cls):
        if cls._it is None:
            cls._it = super().__new__(cls)
        return cls._it

    def __reduce__(self):
        return OnlyOne, ()


class Missing:
    def __reduce__(self):
        return "MISSING"


MISSING = Missing()


def area(shape):
    return shape.area()
