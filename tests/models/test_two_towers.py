"""Models of images and texts as classifiers, against the libraries' own zero-shot classification."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import two_tower_models as towers
from nets import photographs
from PIL import Image

import fidokit as fk
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models.classifier import Classifier

transformers = pytest.importorskip("transformers")
open_clip = pytest.importorskip("open_clip")

pytestmark = pytest.mark.filterwarnings("ignore:.*No pretrained weights:UserWarning")
FAST = {"device": "cpu", "precision": "float32", "micro_batch": 8}
NAMES = ["jay", "tit", "owl"]
SIZE = (towers.SIDE, towers.SIDE)
HF = {"clip": towers.clip, "siglip": towers.siglip, "patches": towers.siglip_of_patches}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Kind -> the folder of its model."""
    root = tmp_path_factory.mktemp("two towers")
    for kind, make in HF.items():
        make(root / kind)
    for kind in towers.OPEN_CLIP:
        towers.open_clip_folder(root / f"open {kind}", kind)
    return root


def named(folders, kind, **options):
    scheme = "hf" if kind in HF else "openclip"
    # transformers reads the tokenizer of a Siglip2Model as Gemma's, whatever its files say.
    own = {"tokenizer": towers.word_tokenizer(model_input_names=["input_ids"])} if kind == "patches" else {}
    return Classifier.load(f"{scheme}:{folders / kind}", **({"names": NAMES} | own | FAST | options))


KINDS = [*HF, *(f"open {kind}" for kind in towers.OPEN_CLIP)]


def normalised(classifier, images):
    p = classifier.preprocessing
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (p.mean, p.std))
    return (images - mean) / std


# The same logits as the library


def test_clip_of_transformers_gives_the_librarys_logits(folders):
    classifier = named(folders, "clip")
    model, tokenizer = transformers.CLIPModel.from_pretrained(folders / "clip").eval(), towers.word_tokenizer()
    images = photographs(4, SIZE)
    tokens = tokenizer([f"a photo of {name}." for name in NAMES], return_tensors="pt", padding=True)
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        expected = model(**tokens, pixel_values=normalised(classifier, images)).logits_per_image
    assert expected.std() > 0.1
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    assert classifier.head == "softmax"
    assert classifier.class_names == NAMES


def test_siglip_of_transformers_keeps_its_bias(folders):
    classifier = named(folders, "siglip")
    model, tokenizer = transformers.SiglipModel.from_pretrained(folders / "siglip").eval(), towers.word_tokenizer()
    images = photographs(4, SIZE)
    texts = [f"a photo of {name}." for name in NAMES]
    tokens = tokenizer(texts, return_tensors="pt", padding="max_length", max_length=64)
    with torch.no_grad():
        expected = model(input_ids=tokens["input_ids"], pixel_values=normalised(classifier, images)).logits_per_image
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    assert classifier.head == "sigmoid"
    goal = classifier.goal(expected, "owl")
    torch.testing.assert_close(goal.log_odds(expected), expected[:, 2])
    assert named(folders, "siglip", head="softmax").head == "softmax"


def test_siglip_of_patches_gives_the_librarys_logits(folders):
    classifier = named(folders, "patches")
    model = transformers.Siglip2Model.from_pretrained(folders / "patches").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders / "patches")
    picture = Image.fromarray((photographs(1, SIZE)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    tokens = towers.word_tokenizer()(
        [f"a photo of {name}." for name in NAMES], return_tensors="pt", padding="max_length", max_length=64
    )["input_ids"]
    with torch.no_grad():
        expected = model(input_ids=tokens, **processor(images=picture, return_tensors="pt")).logits_per_image
    torch.testing.assert_close(classifier.logits(picture), expected, rtol=0, atol=1e-4)
    assert "brought to 64 x 64 pixels" in repr(classifier)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_scores_of_a_photograph_are_those_of_the_librarys_pipeline(folders, kind, tmp_path):
    classifier = named(folders, kind, templates="this is a photo of {}.")
    path = tmp_path / "photo.png"
    Image.fromarray((photographs(1, (90, 140), seed=3)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
    pipeline = transformers.pipeline("zero-shot-image-classification", model=str(folders / kind))
    found = pipeline(
        str(path), candidate_labels=NAMES, hypothesis_template="this is a photo of {}."
    )
    expected = torch.tensor([next(row["score"] for row in found if row["label"] == name) for name in NAMES])
    logits = classifier.logits([path])[0]
    scores = logits.softmax(0) if kind == "clip" else logits.sigmoid()
    torch.testing.assert_close(scores, expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", [*towers.OPEN_CLIP])
def test_open_clip_gives_the_librarys_logits(folders, kind):
    classifier = named(folders, f"open {kind}")
    name = f"local-dir:{folders / f'open {kind}'}"
    model = open_clip.create_model_from_pretrained(name, return_transform=False).eval()
    tokens = open_clip.get_tokenizer(name)([f"a photo of {name}." for name in NAMES])
    images = photographs(4, SIZE)
    with torch.no_grad():
        features = model.encode_image(normalised(classifier, images), normalize=True)
        texts = model.encode_text(tokens, normalize=True)
        expected = model.logit_scale.exp() * features @ texts.T
        if model.logit_bias is not None:
            expected = expected + model.logit_bias
    assert expected.std() > 0.1
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    assert classifier.head == ("sigmoid" if kind == "siglip" else "softmax")


def test_several_templates_and_names_are_averaged_as_the_field_does(folders):
    name = f"local-dir:{folders / 'open vit'}"
    model = open_clip.create_model_from_pretrained(name, return_transform=False).eval()
    tokenizer = open_clip.get_tokenizer(name)
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES[:5]
    classifier = Classifier.from_prompts(model, NAMES, templates=templates, tokenizer=tokenizer, **FAST)
    images = photographs(3, SIZE)
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(model, tokenizer, NAMES, templates)
        features = model.encode_image(normalised(classifier, images), normalize=True)
    torch.testing.assert_close(
        classifier.logits(images), model.logit_scale.exp().detach() * features @ weights, rtol=0, atol=1e-4
    )
    both = {"jay": ["jay", "garrulus glandarius"], "tit": ["parus major", "tit", "tit"]}
    classifier = Classifier.from_prompts(model, both, tokenizer=tokenizer, **FAST)
    with torch.no_grad():
        rows = []
        for texts in (["jay", "garrulus glandarius"], ["parus major", "tit"]):
            encoded = model.encode_text(tokenizer([f"a photo of {text}." for text in texts]), normalize=True)
            rows.append(torch.nn.functional.normalize(encoded.mean(0), dim=0))
    torch.testing.assert_close(classifier.module.head.embeddings, torch.stack(rows), rtol=0, atol=1e-6)
    assert "4 prompts such as 'a photo of tit.'" in repr(classifier)


# Preprocessing is the model's own


@pytest.mark.parametrize(
    ("kind", "preprocessing"),
    [("vit", {}), ("resnet", {}), ("siglip", {}), ("vit", {"interpolation": "random"})],
)
def test_open_clip_photographs_arrive_as_in_the_library(tmp_path, kind, preprocessing):
    folder = towers.open_clip_folder(tmp_path, kind, **preprocessing)
    _, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    classifier = Classifier.load(f"openclip:{folder}", names=NAMES, **FAST)
    array = (photographs(1, (150, 230), seed=5)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    array[::2, ::3] //= 2
    Image.fromarray(array).save(tmp_path / "photo.png")
    table = pd.DataFrame({"image_id": ["photo"], "path": [str(tmp_path / "photo.png")], "label": [None]})
    ours, _ = fk.LabelledImages(table, tmp_path).load(0, classifier.preprocessing)
    theirs = transform(Image.open(tmp_path / "photo.png"))
    std = torch.tensor(classifier.preprocessing.std).view(3, 1, 1)
    gap = (normalised(classifier, ours[None])[0] - theirs).abs() * std * 255
    assert gap.max() < 3
    assert gap.mean() < 0.5
