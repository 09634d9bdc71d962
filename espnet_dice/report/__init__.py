"""What people look at: one self-contained page about an experiment, and the statistics on it.

    python -m espnet_dice.report EXP_DIR

reads only what the stages left on disk, and needs neither torch nor ESPnet.
"""
