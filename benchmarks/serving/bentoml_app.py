"""BentoML takes the picture as the request's body, which it hands on as a file."""

from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType
from engine import Engine


@bentoml.service(workers=1)
class Mugs:
    def __init__(self) -> None:
        self.engine = Engine()

    @bentoml.api(route="/classify")
    def classify(self, image: Annotated[Path, ContentType("image/jpeg")], /) -> dict:
        return self.engine(image.read_bytes())
