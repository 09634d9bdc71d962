import os
import signal

# BLAS threads of several processes fight for two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell lets its background jobs ignore Ctrl-C, and so would the commands that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
