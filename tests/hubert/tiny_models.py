"""Small models to test with."""

from pathlib import Path

import torch

WIDTH = {"hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 4}
STEM = {"conv_dim": [16, 16, 24, 24, 32, 32, 32]}
MEL = {"stem": "mel", "conv_dim": [16, 32]}
POSITIONS = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
BASE = {**WIDTH, **STEM, **POSITIONS, "num_hidden_layers": 3}
MEL_BASE = {**BASE, **MEL}
LARGE = {**BASE, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
WAVLM = {"num_buckets": 16, "max_bucket_distance": 14}
ENCODER = {"output_size": 32, "attention_heads": 4, "num_blocks": 2, "linear_units": 48}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference(conf: dict = BASE, seed: int = 0):
    """A ``transformers.HubertModel`` whose norms and biases are not those of a fresh model."""
    from transformers import HubertConfig, HubertModel

    return perturbed(HubertModel, HubertConfig(**conf), seed=seed)


def perturbed(make, *args, seed: int = 0, **kwargs):
    """``make(…)`` with parameters away from their initial values."""
    torch.manual_seed(seed)
    model = make(*args, **kwargs).eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    return model


def save(directory: Path, conf: dict = BASE, **preprocessor):
    """A teacher in Hugging Face's format; returns the reference model."""
    from transformers import Wav2Vec2FeatureExtractor

    model = reference(conf)
    model.save_pretrained(directory)
    Wav2Vec2FeatureExtractor(**preprocessor).save_pretrained(directory)
    return model
