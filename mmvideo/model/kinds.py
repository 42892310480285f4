"""The kinds of models that a run may train, told apart by their field `kind`."""

from __future__ import annotations

from typing import Annotated, Any

from mmvideo.model.baselines.config import CnnLstm, FrameLstm
from mmvideo.model.config import Model


class Discriminated:
    """Tells pydantic to choose the member of a union by its field `kind`, so that its errors name that one's fields."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="kind")])


ModelConfig = Annotated[Model | CnnLstm | FrameLstm, Discriminated()]
"""Any of the models."""

__all__ = ["ModelConfig", "Discriminated", "CnnLstm", "FrameLstm", "Model"]
