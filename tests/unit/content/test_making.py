"""What pickles call makes classes as the script has them, and finds what stands in them."""

from parsl_context.content import making
from parsl_context.content.space import space


def test_of_a_class_an_attribute_is_what_stands_there():
    class A:
        @property
        def x(self):
            return 1

        @classmethod
        def made(cls):
            return cls()

    assert making.attribute(A, "x") is vars(A)["x"]
    assert making.attribute(A, "made.__func__") is vars(A)["made"].__func__


def test_a_class_is_made_again_without_a_word_to_its_bases():
    told = []

    class Base:
        def __init_subclass__(cls, *, tag):
            told.append(cls)

    space.identify(Base)
    before = vars(Base)["__init_subclass__"]
    made = making.make_class(type, "A", (Base,), {"__module__": "__main__"})
    assert made.__mro__ == (made, Base, object)
    assert told == []
    assert vars(Base)["__init_subclass__"] is before
