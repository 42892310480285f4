"""The kinds of models that a run may train; their field `kind` distinguishes them."""

from __future__ import annotations

from typing import Annotated, Any

from mmvideo.model.baselines.config import CnnLstm, FrameLstm
from mmvideo.model.config import Model


class Discriminated:
    """A pydantic annotation that chooses the member of a union by its field `kind`, so that errors name its fields."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="kind")])


ModelConfig = Annotated[Model | CnnLstm | FrameLstm, Discriminated()]
"""The config of any model."""

__all__ = ["ModelConfig", "Discriminated", "CnnLstm", "FrameLstm", "Model"]
