"""Tiny models of images and texts with random weights, of transformers and open_clip, saved as such models are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SIDE = 64
WORDS = [
    "a",
    "photo",
    "of",
    "this",
    "is",
    "jay",
    "tit",
    "owl",
    "lynx",
    "corvid",
    "garrulus",
    "glandarius",
    "parus",
    "major",
    "bird",
    "red",
    "blue",
    "the",
    ".",
    ",",
    "{",
    "}",
    "bubo",
]
TEXT = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 16, "vocab_size": 40,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8,
    "image_size": SIDE,
}  # fmt: skip


def shaken(model, seed=0):
    """The model with weights that are as different as trained ones: fresh ones look the same to every text."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or "class_embedding" in name:
                scale = 1.0 if "embed" in name else 1.5 / parameter[0].numel() ** 0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def word_tokenizer(**options):
    """A fast tokenizer of whole words, with marks for the beginning and the end."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        model_max_length=16, **options,
    )  # fmt: skip


def clip(folder: Path | None = None, seed=0):
    """A CLIPModel of transformers; with a folder, saved there with tokenizer and image processor."""
    import transformers

    config = transformers.CLIPConfig(
        text_config=TEXT | {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}, vision_config=VISION,
        projection_dim=24,
    )  # fmt: skip
    model = shaken(transformers.CLIPModel(config), seed)
    if folder is not None:
        model.save_pretrained(folder)
        word_tokenizer().save_pretrained(folder)
        transformers.CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ).save_pretrained(folder)
    return model


def _biased(model, processor, folder: Path | None):
    """A model whose logits spread around a bias; saved with its processor and tokenizer where there is a folder."""
    shaken(model)
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-1.2)
    if folder is not None:
        for each in (model, word_tokenizer(model_input_names=["input_ids"]), processor):
            each.save_pretrained(folder)
    return model


def siglip(folder: Path | None = None):
    """A SiglipModel of transformers, likewise; its logits spread around a bias."""
    import transformers

    text = TEXT | {"projection_size": 32, "max_position_embeddings": 64}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    processor = transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    return _biased(transformers.SiglipModel(config), processor, folder)


def siglip_of_patches(folder: Path | None = None):
    """A Siglip2Model of transformers (NaFlex), which takes the patches of photographs of any shape."""
    import transformers

    vision = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 64}
    text = TEXT | {"projection_size": 32, "max_position_embeddings": 64}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=64)
    return _biased(transformers.Siglip2Model(config), processor, folder)


_OPEN_TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_OPEN_VIT = {"image_size": SIDE, "layers": 3, "width": 32, "patch_size": 8, "head_width": 16}
#: Architectures of open_clip, each with what their configurations say about preprocessing.
OPEN_CLIP = {
    "vit": ({"embed_dim": 24, "vision_cfg": _OPEN_VIT, "text_cfg": _OPEN_TEXT}, {}),
    "resnet": (
        {
            "embed_dim": 24,
            "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
            "text_cfg": _OPEN_TEXT,
        },
        {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"},
    ),
    "siglip": (
        {
            "embed_dim": 24, "init_logit_bias": -10.0, "custom_text": True, "vision_cfg": _OPEN_VIT,
            "text_cfg": _OPEN_TEXT | {"vocab_size": 40, "hf_tokenizer_name": "words", "no_causal_mask": True,
                                      "pool_type": "last", "tokenizer_kwargs": {"clean": "canonicalize"}},
        },
        {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"},
    ),
    "coca": (
        {
            "embed_dim": 24, "custom_text": True,
            "vision_cfg": _OPEN_VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": _OPEN_TEXT | {"embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        },
        {},
    ),
    "timm": (
        {
            "embed_dim": 24, "text_cfg": _OPEN_TEXT,
            "vision_cfg": {"image_size": SIDE, "timm_model_name": "resnet10t", "timm_model_pretrained": False,
                           "timm_pool": "avg", "timm_proj": "linear"},
        },
        {},
    ),
}  # fmt: skip


def open_clip_folder(folder: Path, kind: str, **preprocessing) -> Path:
    """A folder as open_clip's ``local-dir:`` takes it."""
    import open_clip

    model_config, own = OPEN_CLIP[kind]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_config, "preprocess_cfg": own | preprocessing})
    )
    if "hf_tokenizer_name" in model_config["text_cfg"]:
        word_tokenizer().save_pretrained(folder)
    model = shaken(open_clip.create_model(f"local-dir:{folder}", pretrained_text=False))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    return folder
