"""Models of images and texts, of transformers and of open_clip, as classifiers: texts in once, the image tower kept.

CLIP (Radford et al., ICML 2021, arXiv 2103.00020, section 3.1.4): the embeddings of a class's prompts are brought to
length 1, averaged, and brought to length 1 again. SigLIP (Zhai et al., ICCV 2023, arXiv 2303.15343) adds a bias and
judges each pair of image and text by itself.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from fidokit._util.wording import given
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models import frozen
from fidokit.models.adapting import SwappedChannels, probe_images
from fidokit.models.processors import normalisation_of, read_processor
from fidokit.models.prompted import Prompted, TextSimilarity
from fidokit.models.prompts import Prompts

#: Texts that go through the text tower at once.
_BATCH = 64
#: What two float32 computations of one image's features may differ by, as a share of their length.
_SAME = 1e-3

Tokens = tuple[int, ...]
_T = TypeVar("_T")


class TwoTowers(ABC):
    """A model of images and texts, and its tokenizer.

    Attributes:
        model: the whole model.
        image_tower: the part that turns (B, 3, H, W) normalised images into (B, D) features.
        image_names: how the names of the image tower's weights in the model begin.
        bgr: whether the image tower wants blue first.
        preprocessing: options of `fidokit.Preprocessing` that are the model's own.
        notes: what was assumed.
    """

    image_names: tuple[str, ...]
    image_tower: nn.Module

    def __init__(self, model: Any) -> None:
        self.model = model
        self.bgr = False
        self.preprocessing: dict[str, Any] = {}
        self.notes: list[str] = []

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """What the tokenizer makes of each text.

        Raises:
            ClassifierError: a text does not fit into the model's context.
        """

    @abstractmethod
    def encode(self, model: Any, texts: Sequence[str]) -> Tensor:
        """(N, D) features that the model, or its copy in float32, gives for texts."""

    def prompted(self, prompts: Prompts) -> nn.Module:
        """The image tower with the texts behind it.

        Raises:
            ClassifierError: a text is too long, is not told from that of another class, or cannot be encoded.
            SettingsError: one class alone, for a model without a bias.
        """
        scale, bias = getattr(self.model, "logit_scale", None), getattr(self.model, "logit_bias", None)
        if not isinstance(scale, Tensor) or scale.numel() != 1:
            raise ClassifierError(
                f"{type(self.model).__name__} has no `logit_scale`, by which similarities to texts become logits; "
                "wrap it in a module that returns (B, K) scores, and give that to fidokit.Classifier"
            )
        if bias is None and len(prompts.names) == 1:
            (name,) = prompts.names
            raise SettingsError(
                f"{name!r} is the only class, and {type(self.model).__name__} can only choose between several; name "
                "something that it could be instead"
            )
        origin = self._checked(prompts)
        head = TextSimilarity(self._embeddings(prompts), scale, bias, origin)
        module = Prompted(self.image_tower, head, prompts, self.preprocessing, self.notes)
        return SwappedChannels(module) if self.bgr else module

    def _checked(self, prompts: Prompts) -> str:
        """SHA-256 over the text tower's weights and the tokens, if the tokens of any two classes differ."""
        named = list(prompts.texts())
        tokens = self.tokens([text for _, text in named])
        owners: dict[Tokens, tuple[str, str]] = {}
        for (name, text), row in zip(named, tokens, strict=True):
            owner, other = owners.setdefault(row, (name, text))
            if owner != name:
                raise ClassifierError(
                    f"the tokenizer makes the same of {other!r} for {owner!r} and of {text!r} for {name!r}, so that no "
                    "picture could tell these classes apart; give each a prompt of its own, in words that it knows"
                )
        digest = hashlib.sha256(repr(tokens).encode())
        for key, value in sorted(self.model.state_dict().items()):
            if not key.startswith(self.image_names):
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:32]

    def _embeddings(self, prompts: Prompts) -> Tensor:
        """(K, D) float32: of each class the mean direction of its texts."""
        places = {name: k for k, name in enumerate(prompts.names)}
        named = list(prompts.texts())
        reader = self.model
        if any(p.dtype != torch.float32 for p in self.model.parameters()):
            # As in a session: weights as they are, arithmetic in float32. CPUs can do little in float16.
            reader = frozen.frozen_copy(self.model, next(self.model.parameters()).device)
        sums: Tensor | None = None
        with (
            frozen.frozen_in_place(self.model),
            torch.no_grad(),
            tqdm(total=len(named), unit="text", delay=3, leave=False) as bar,
        ):
            for part in _batches(named):
                try:
                    features = self.encode(reader, [text for _, text in part]).float()
                except Exception as error:
                    raise ClassifierError(
                        f"the text tower of {type(self.model).__name__} cannot encode texts such as {part[0][1]!r}: "
                        f"{type(error).__name__}: {error}; does the tokenizer belong to it?"
                    ) from error
                if sums is None:
                    sums = features.new_zeros(len(places), features.shape[1])
                rows = torch.tensor([places[name] for name, _ in part], device=features.device)
                sums.index_add_(0, rows, nn.functional.normalize(features, dim=-1))
                bar.update(len(part))
        assert sums is not None
        return nn.functional.normalize(sums, dim=-1)


class TransformersTowers(TwoTowers):
    """CLIP, SigLIP and their like of transformers.

    Args:
        model: the whole model.
        tokenizer: its own.
        processor: its image processor; None for a model that was made without.
        given: the user's own options, see `read_processor`.
        name: of the model, for messages.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Any, given: Mapping[str, Any], name: str) -> None:
        super().__init__(model)
        _check_tokenizer(tokenizer, name)
        self.tokenizer = tokenizer
        config = model.config
        positions = getattr(config.text_config, "max_position_embeddings", None) or tokenizer.model_max_length
        self.padding: dict[str, Any] = {"padding": True}
        self.length = min(int(positions), tokenizer.model_max_length)
        if "siglip" in str(config.model_type):
            # Trained on texts of one length, it looks at the padding as well.
            self.length = int(positions)
            self.padding = {"padding": "max_length", "max_length": self.length}
        projection = getattr(model, "visual_projection", None)
        self.image_names = ("vision_model.", "visual_projection.")
        vision = config.vision_config
        if hasattr(vision, "num_patches") and not hasattr(vision, "image_size"):
            self.image_tower = _PatchTower(model.vision_model, vision.patch_size)
            self.preprocessing = _patch_options(vision, processor)
            self.notes.append(
                "it takes photographs of any shape: all are brought to {} x {} pixels".format(
                    *self.preprocessing["size"]
                )
            )
            return
        self.image_tower = _VisionTower(model.vision_model, projection)
        side = getattr(vision, "image_size", None)
        if isinstance(side, int | list | tuple):
            self.preprocessing["size"] = (side, side) if isinstance(side, int) else tuple(side)
        if processor is not None:
            reading = read_processor(processor, given)
            self.preprocessing |= reading.options
            self.bgr = reading.bgr
        self._check_image_tower()

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        rows = [tuple(row) for row in self.tokenizer([*texts])["input_ids"]]
        for text, row in zip(texts, rows, strict=True):
            if len(row) > self.length:
                raise _too_long(text, f"{len(row)} tokens", self.length)
        return rows

    def encode(self, model: Any, texts: Sequence[str]) -> Tensor:
        given = self.tokenizer([*texts], return_tensors="pt", **self.padding)
        features = model.get_text_features(**given.to(next(model.parameters()).device))
        pooled: Tensor = getattr(features, "pooler_output", features)
        return pooled

    def _check_image_tower(self) -> None:
        """See that the part which is kept gives the features that the whole model does."""
        size = self.preprocessing.get("size", (224, 224))
        parameter = next(self.model.parameters())
        image = probe_images(size)[-1:].to(parameter.device, parameter.dtype)
        with frozen.frozen_in_place(self.model), torch.no_grad():
            whole = self.model.get_image_features(pixel_values=image)
            whole = getattr(whole, "pooler_output", whole).float()
            kept = self.image_tower(image).float()
        if kept.shape != whole.shape or not bool((kept - whole).norm() <= _SAME * whole.norm()):
            raise ClassifierError(
                f"{type(self.model).__name__} makes its image features in a way that fidokit does not know; wrap it in "
                "a module that returns (B, K) scores, and give that to fidokit.Classifier"
            )


class OpenClipTowers(TwoTowers):
    """CLIP, SigLIP and CoCa of open_clip, and what has the same parts: `visual`, `encode_text` and `logit_scale`.

    Args:
        model: the whole model.
        tokenizer: called as open_clip's are, ``tokenizer(texts, context_length=N)`` -> (T, N) token numbers.
        given: the user's own options.
    """

    def __init__(self, model: Any, tokenizer: Any, given: Mapping[str, Any]) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer
        self.length = int(getattr(model, "context_length", None) or getattr(tokenizer, "context_length", None) or 77)
        self.image_tower = model.visual
        self.image_names = ("visual.",)
        config = getattr(model.visual, "preprocess_cfg", None)
        if config is not None:
            self.preprocessing = _open_clip_options(config, given)

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        # Which tokens only fill up is known by their number, as they all are the same one.
        padding = getattr(getattr(self.tokenizer, "tokenizer", None), "pad_token_id", None) or 0
        found: list[Tokens] = []
        for part in _batches(texts):
            rows, long = (self._tokenized(part, length) for length in (self.length, 2 * self.length))
            for text, row, whole in zip(part, rows, long, strict=True):
                used = int((whole != padding).sum())
                if used != int((row != padding).sum()):
                    many = f"{used} tokens" if used < 2 * self.length else "many more tokens"
                    raise _too_long(text, many, self.length)
                found.append(tuple(row.tolist()))
        return found

    def encode(self, model: Any, texts: Sequence[str]) -> Tensor:
        rows = self._tokenized(texts, self.length).to(model.logit_scale.device)
        features: Tensor = model.encode_text(rows)
        return features

    def _tokenized(self, texts: Sequence[str], length: int) -> Tensor:
        try:
            rows = torch.as_tensor(self.tokenizer([*texts], context_length=length))
        except Exception as error:
            raise ClassifierError(
                f"the tokenizer cannot be used on texts such as {texts[0]!r}: {type(error).__name__}: {error}; it is "
                "called as tokenizer(texts, context_length=N), as that of open_clip.get_tokenizer(NAME) is"
            ) from error
        return rows


class _VisionTower(nn.Module):
    """The vision model of transformers, and its projection into the space that it shares with texts."""

    def __init__(self, vision_model: nn.Module, projection: nn.Module | None) -> None:
        super().__init__()
        self.vision_model = vision_model
        self.projection = projection

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.vision_model(pixel_values=images, return_dict=True).pooler_output
        projected: Tensor = features if self.projection is None else self.projection(features)
        return projected


class _Patches(nn.Module):
    """(B, 3, H, W) images as a map of their patches, (B, rows, columns, P * P * 3), in which layers find their grid."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        rows, columns = height // self.side, width // self.side
        cells = images.reshape(batch, channels, rows, self.side, columns, self.side)
        return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows, columns, -1)


class _PatchTower(nn.Module):
    """A vision model that takes the patches of photographs of any shape, as SigLIP 2 NaFlex does, on whole inputs.

    Published as Tschannen et al., 2025 (arXiv 2502.14786), section 2.4.
    """

    def __init__(self, vision_model: nn.Module, side: int) -> None:
        super().__init__()
        self.patches = _Patches(side)
        self.vision_model = vision_model

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images)
        batch, rows, columns, _ = patches.shape
        features: Tensor = self.vision_model(
            pixel_values=patches.flatten(1, 2),
            pixel_attention_mask=torch.ones(batch, rows * columns, dtype=torch.int32, device=images.device),
            spatial_shapes=torch.tensor([[rows, columns]] * batch, device=images.device),
            return_dict=True,
        ).pooler_output
        return features


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def of_module(model: nn.Module, tokenizer: Any, given: Mapping[str, Any]) -> TwoTowers:
    """The towers of a model that somebody has loaded or made.

    Args:
        model: of transformers or open_clip.
        tokenizer: its tokenizer, or its processor in transformers; None finds it where a model of transformers was
            loaded from.
        given: the user's own options of `fidokit.Classifier`.

    Raises:
        ClassifierError: it has no text tower, or its tokenizer is not known.
    """
    if hasattr(model, "get_text_features") and hasattr(model, "vision_model") and hasattr(model, "config"):
        return _of_transformers(model, tokenizer, given)
    if isinstance(getattr(model, "visual", None), nn.Module) and callable(getattr(model, "encode_text", None)):
        if tokenizer is None:
            raise ClassifierError(
                f"{type(model).__name__} does not know its tokenizer; give the one it was trained with, "
                "tokenizer=open_clip.get_tokenizer(NAME)"
            )
        return OpenClipTowers(model, tokenizer, given)
    raise ClassifierError(
        f"{type(model).__name__} has no text tower (`get_text_features` in transformers, `visual` and `encode_text` in "
        "open_clip), so that prompts mean nothing to it. If it gives scores of classes, use fidokit.Classifier(module, "
        "class_names)."
    )


def _of_transformers(model: Any, tokenizer: Any, given: Mapping[str, Any]) -> TwoTowers:
    import transformers

    name = type(model).__name__
    origin = str(getattr(model, "name_or_path", "") or "")
    processor = getattr(tokenizer, "image_processor", None)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    if tokenizer is None:
        if not origin:
            raise ClassifierError(
                f"{name} was not loaded from anywhere, so that its tokenizer is not known; give it: tokenizer=..., or "
                "the model's processor, which knows how images are brought to it as well"
            )
        tokenizer = transformers_tokenizer(origin)
    if processor is None and origin:
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(origin)  # type: ignore[no-untyped-call]
        except OSError:
            processor = None  # mean and std are assumed then, which is said
    return TransformersTowers(model, tokenizer, processor, given, name)


def transformers_tokenizer(path: str) -> Any:
    """The tokenizer in a model's folder or repository.

    Raises:
        ClassifierError: there is none.
    """
    import transformers

    try:
        # Said so, since it would ask at the keyboard otherwise.
        return transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        raise ClassifierError(
            f"{path} has no tokenizer that can be loaded ({str(error).splitlines()[0]}); {_TOKENIZER_REMEDY}"
        ) from error


_TOKENIZER_REMEDY = (
    "save the one that the model was trained with into its folder, tokenizer.save_pretrained(FOLDER), or give "
    "tokenizer=..."
)


def _check_tokenizer(tokenizer: Any, name: str) -> None:
    # Where the files are missing, transformers makes a tokenizer that knows nothing but its own marks.
    known = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    if not known:
        raise ClassifierError(
            f"{name} has no tokenizer: the vocabulary of what was found is empty; {_TOKENIZER_REMEDY}"
        )


def _too_long(text: str, many: str, length: int) -> ClassifierError:
    # Cut off, as the libraries do, a scientific name would lose its end: the species.
    return ClassifierError(
        f"the prompt {text!r} has {many}, and the model reads {length} at most; shorten it, or use a shorter template"
    )


def _patch_options(vision: Any, processor: Any) -> dict[str, Any]:
    """Options for a model of patches: as many of them as it was trained with, in a square."""
    most = getattr(processor, "max_num_patches", None) or vision.num_patches
    side = int(vision.patch_size) * math.isqrt(int(most))
    # Photographs keep their shape in training; the whole of one matters more than its shape.
    options: dict[str, Any] = {"size": (side, side), "fit": "squash"}
    return options if processor is None else options | normalisation_of(processor)


def _open_clip_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `fidokit.Preprocessing` from open_clip's ``preprocess_cfg``.

    Raises:
        ClassifierError: photographs are padded, which fidokit does not do, and no fit was given instead.
    """
    size = config["size"]
    mode = config.get("resize_mode") or "shortest"
    if mode == "longest" and "fit" not in options:
        raise ClassifierError(
            "the model was trained on photographs padded to a square (resize_mode 'longest'), which fidokit does not "
            f"do; give {given(fit='squash')} for all of a photograph, or fit='crop' for its middle"
        )
    return {
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "size": (size, size) if isinstance(size, int) else tuple(size),
        "fit": "squash" if mode == "squash" else "crop",
        "crop_share": 1.0,
        "interpolation": "bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
    }
