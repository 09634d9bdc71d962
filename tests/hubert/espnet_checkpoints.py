"""Small models as ESPnet's hubert1 and ssl1 recipes leave them."""

from argparse import Namespace

import torch
import yaml

from espnet_dice.hubert.models.frames import KERNELS, STRIDES
from tests.hubert.tiny_models import BASE, ENCODER

CNN = [list(shape) for shape in zip(BASE["conv_dim"], KERNELS, STRIDES, strict=True)]


def hubert1(directory):
    """A model that ESPnet's hubert1 task builds (torchaudio), saved in ``directory``."""
    from espnet2.tasks.hubert import HubertTask

    conf = {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": CNN,
        "encoder_embed_dim": 48,
        "encoder_num_layers": 3,
        "encoder_num_heads": 4,
        "encoder_ff_interm_features": 64,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
    }
    args = HubertTask.get_default_config() | {
        "encoder": "torchaudio_hubert",
        "encoder_conf": conf,
        "model": "torchaudio",
        "normalize": None,
        "frontend": None,
        "input_size": 1,
        "token_list": list("abc"),
    }
    return _trained(HubertTask, args, directory)


def ssl1(directory):
    """A model that ESPnet's ssl1 task builds, saved in ``directory``."""
    from espnet2.tasks.ssl import SSLTask

    args = SSLTask.get_default_config() | {
        "frontend": "wav2vec_cnn",
        "frontend_conf": {
            "norm_mode": "layer_norm",
            "conv_mode": "standard",
            "bias": True,
            "shapes": CNN,
            "normalize_audio": True,
            "normalize_output": True,
        },
        "normalize": None,
        "preencoder": "linear",
        "preencoder_conf": {"output_size": 32},
        "encoder": "e_branchformer",
        "encoder_conf": {**ENCODER, "input_layer": None, "use_ffn": True, "macaron_ffn": True},
        "loss": [{"name": "hubert", "conf": {"num_classes": 10, "final_dim": 8}}],
        "token_list": list("abc"),
    }
    return _trained(SSLTask, args, directory)


def _trained(task, args, directory):
    """The task's model with parameters away from their initial values, saved as its recipe does."""
    torch.manual_seed(0)
    model = task.build_model(Namespace(**{**args, "num_classes": 10})).eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    torch.save(model.state_dict(), directory / "valid.loss.ave.pth")
    written = {k: v for k, v in args.items() if isinstance(v, (str, int, list, dict, type(None)))}
    (directory / "config.yaml").write_text(yaml.safe_dump(written))
    return model
