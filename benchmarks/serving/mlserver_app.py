"""MLServer takes the Open Inference Protocol; in its JSON a picture is base64."""

from engine import Engine
from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Mugs(MLModel):
    async def load(self) -> bool:
        self.engine = Engine()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (content,) = Base64Codec.decode_input(payload.inputs[0])
        answer = self.engine(content)
        return InferenceResponse(
            model_name=self.name,
            outputs=[StringCodec.encode_output("label", [answer["label"]])],
        )
