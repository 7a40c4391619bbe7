"""Triton: one launch a stage for all parameters of a device, on NVIDIA and AMD GPUs."""
