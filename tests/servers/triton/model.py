"""An ONNX file on a tritonserver that has the Python backend alone: ONNX Runtime runs the `model.onnx` beside this."""
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # noqa: E402
import triton_python_backend_utils as utils  # noqa: E402


class TritonPythonModel:
    def initialize(self, args):
        file = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        answers = []
        for request in requests:
            pictures = utils.get_input_tensor_by_name(request, self.input).as_numpy()
            rows = self.session.run(self.outputs, {self.input: pictures})
            answers.append(utils.InferenceResponse(list(map(utils.Tensor, self.outputs, rows))))
        return answers
