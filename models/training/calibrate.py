#!/usr/bin/env python3
"""Multiplies a file's scores, so that a score is the chance that the point lies near its label (evaluate.py --reliability).

    python calibrate.py FILE.onnx 1.30 OUT.onnx

The factor is a node behind each output, so no point moves; ONNX Runtime joins it with the product before.  The metadata's entry
`score_unit` says that scores are chances: rtmposebatch's tracker divides by it.  It is always THRESHOLDS, whatever the factor: the
tracker's thresholds were chosen with a model of which 1.28 times the score is the chance."""
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

OUTPUTS, UNIT, THRESHOLDS = ("simcc_x", "simcc_y"), "score_unit", "1.28"


def main():
    if len(sys.argv) != 4: sys.exit(__doc__.strip())
    source, factor, out = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    model = onnx.load(source)
    graph = model.graph
    if any(entry.key == UNIT for entry in model.metadata_props): sys.exit(f"{source} has a {UNIT} already")
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name in OUTPUTS: node.output[i] = f"{name}_uncalibrated"
    graph.initializer.append(numpy_helper.from_array(np.float32(factor), "score_factor"))
    graph.node.extend(helper.make_node("Mul", [f"{name}_uncalibrated", "score_factor"], [name], name=f"{name}_calibrated") for name in OUTPUTS)
    helper.set_model_props(model, {**{entry.key: entry.value for entry in model.metadata_props}, UNIT: THRESHOLDS})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out)


if __name__ == "__main__":
    main()
