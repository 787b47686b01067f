"""NVIDIA cards, as the driver reports them, and the CUDA build of MXNet in its own folder."""
