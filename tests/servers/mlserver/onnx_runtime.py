"""An ONNX file on MLServer, which has no runtime for those of its own."""
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # noqa: E402
from mlserver import MLModel  # noqa: E402
from mlserver.codecs import NumpyCodec  # noqa: E402
from mlserver.types import InferenceRequest, InferenceResponse  # noqa: E402
from mlserver.utils import get_model_uri  # noqa: E402


class OnnxRuntime(MLModel):
    async def load(self) -> bool:
        file = await get_model_uri(self.settings)
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        image = NumpyCodec.decode_input(payload.inputs[0])
        rows = self.session.run(["keypoints"], {"image": image})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("keypoints", rows)])
