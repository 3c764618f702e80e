"""The base of every pydantic model on the bus: frozen, closed, and silent about the values it refuses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Frozen; unknown keys are errors; validation errors never print the input."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Label(Model):
    """A name in the two languages of the console."""

    zh: str = Field(description="Chinese name.")
    en: str = Field(description="English name.")
