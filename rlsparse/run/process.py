"""What a training process sets for itself, once: numbers are the same without, only slower."""

import ctypes
from contextlib import suppress

from threadpoolctl import threadpool_limits

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 28


def prepare(device: str = "cpu") -> None:
    """Use one BLAS thread, and keep freed memory for the next minibatch; make a GPU torch's current one."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_device(device)  # where streams are made that nobody gives a device
    # products this small lose more to waking threads than they gain
    threadpool_limits(1, "blas")
    # by default glibc gives arrays above 128 KiB back to the kernel, which clears every page of them anew:
    # a minibatch of 2,048 samples then takes 1.6 times as long
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
