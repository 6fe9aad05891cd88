"""Golden cases: what PyTorch and Keras make of inputs and weights, for the tests of the crate."""

import os

import torch

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Before TensorFlow is loaded: PyTorch loads its compiler here, and of two copies of LLVM in one
# process the second must be TensorFlow's.
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
