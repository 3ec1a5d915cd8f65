"""archsr fine-tunes Real-ESRGAN for photographs of architecture."""

import os

__version__ = "0.1.0"

# Threads that share an operation on a CPU wait for each other by spinning. Beside other programs they spin while those
# they wait for do not run: seconds of a pass of x4plus on two cores, in three programs at a time and alone, 7.4 and .81
# with libgomp's own 300,000 turns, 3.3 and .83 with 5,000. It is read when torch is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
