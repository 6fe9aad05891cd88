"""Compares ONNX Runtime with this crate.

    BURN_SKIP_ONNX_DIR=DIR cargo test --test all onnx::
    python scripts/check_onnx.py DIR

`DIR` has models `NAME.onnx`, and for each `NAME.N.safetensors`: an input and the outputs of this crate. Each model must pass
ONNX's checker, and each output agree to 1e-4 of its largest value. Needs onnx, onnxruntime and safetensors.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file

TOLERANCE = 1e-4


def compare(path):
    """The largest difference of the model's outputs, relative to the largest value of each."""
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    examples = sorted(path.parent.glob(path.stem + ".*.safetensors"))
    if not examples:
        raise ValueError("there is no example")
    worst = 0.0
    for example in examples:
        tensors = load_file(example)
        outputs = session.run(names, {"input": tensors["input"]})
        for name, output in zip(names, outputs):
            expected = tensors[name]
            if output.shape != expected.shape:
                raise ValueError(f"{example.name}: {name} is {output.shape}, and {expected.shape} here")
            if not numpy.isfinite(output).all():
                raise ValueError(f"{example.name}: {name} is not finite")
            largest = max(numpy.abs(expected).max(), 1e-6)
            worst = max(worst, float(numpy.abs(output - expected).max() / largest))
    if worst > TOLERANCE:
        raise ValueError(f"an output differs by {worst:.1e} of the largest value")
    return worst


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    failed, worst = 0, 0.0
    for path in paths:
        try:
            worst = max(worst, compare(path))
        except Exception as error:  # whatever it is, the other models are checked too
            failed += 1
            print(f"{path.stem}: {str(error).strip().splitlines()[0][:300]}")
    print(f"{len(paths)} models, {failed} failed; the others differ by {worst:.1e} of the largest value at most")
    sys.exit(1 if failed or not paths else 0)


if __name__ == "__main__":
    main()
