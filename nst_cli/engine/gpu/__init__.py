"""NVIDIA cards: what the driver says of them, and the CUDA build of MXNet in its own folder."""
