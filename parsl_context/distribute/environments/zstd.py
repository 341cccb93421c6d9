"""Compression of packed environments. The library is an extra, which only they need."""

from __future__ import annotations

from types import ModuleType
from typing import IO

from parsl_context.errors import ConfigurationError


def compress(data: bytes, level: int = 3) -> bytes:
    """A frame that says how large its content is, and has a checksum of its own."""
    made: bytes = _library().ZstdCompressor(level=level, write_checksum=True).compress(data)
    return made


def decompress(data: bytes | memoryview) -> bytes:
    """The content of a frame.

    Raises
    ------
    ValueError
        If it is none.
    """
    library = _library()
    try:
        made: bytes = library.ZstdDecompressor().decompress(data)
    except library.ZstdError as error:
        raise ValueError(str(error)) from None
    return made


def reader(stream: IO[bytes]) -> IO[bytes]:
    """The content of frames, one after the other, as a stream.

    Raises
    ------
    ConfigurationError
        If the library is missing.
    """
    made: IO[bytes] = _library().ZstdDecompressor().stream_reader(stream, read_across_frames=True)
    return made


def _library() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise ConfigurationError(
            f"Packed environments need the library zstandard ({error}): pip install 'parsl-context[environments]', "
            "where the script runs and on the nodes."
        ) from error
    return zstandard
