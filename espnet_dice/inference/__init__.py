"""Trained models at work on new speech: a few lines of Python, or a command.

import espnet_dice
espnet_dice.load("exp/asr_<tag>").transcribe("speech.wav")
espnet_dice.load("exp/dice_<tag>").extract("speech.wav")
"""
