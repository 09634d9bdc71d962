import os

# BLAS threads of several processes fight for two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
