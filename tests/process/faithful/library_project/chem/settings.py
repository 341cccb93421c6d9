"""Configuration."""

from __future__ import annotations

from pydantic import BaseModel, Field

from .constants import Kind


class Limits(BaseModel):
    low: float = 0.0
    high: float = Field(default=100.0, gt=0)


class Settings(BaseModel):
    kind: Kind
    limits: Limits = Limits()
    next: Settings | None = None
