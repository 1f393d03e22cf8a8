from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
import torch
from nets import conv_net, photographs
from PIL import Image
from torch import nn

import fidokit as fk
from fidokit import methods
from fidokit.data.images import LabelledImages
from fidokit.exceptions import FidokitError, ImageError, MethodNotApplicable, SettingsError
from fidokit.methods import _built_in, compute_masks, explain, get_method, list_methods, register_method
from fidokit.methods.base import (
    COLUMNS,
    Batch,
    Computed,
    Masks,
    Method,
    NoSettings,
    resize_masks,
    settings_dict,
    settings_id,
)
from fidokit.methods.fido import FidoSettings
from fidokit.methods.infill import blur
from fidokit.models.classifier import Classifier

NAMES = ["crow", "jay", "tit", "owl"]
SIZE = (32, 32)


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    monkeypatch.setattr(methods, "_REGISTRY", dict(methods._REGISTRY))


def make(module=None, names=NAMES, **options) -> Classifier:
    defaults = {"size": SIZE, "device": "cpu", "precision": "float32", "micro_batch": 8}
    return Classifier(conv_net() if module is None else module, names, **(defaults | options))


def constant(_classifier, images, _targets):
    """Half everywhere.

    More about it.
    """
    return torch.full((len(images), 4, 6), 0.5)


def make_batch(classifier, images, ids=None, targets=None):
    with classifier.session() as session:
        logits = session.logits(images)
    ids = [f"i{k}" for k in range(len(images))] if ids is None else ids
    return Batch(images, ids, classifier.goal(logits, targets), logits)


# The registry


#: Of the methods that make anything else than an attribution.
KINDS_OF = {"fido": ("ssr", "sdr", "joint", "effect")}


def test_the_built_in_methods():
    assert list_methods()[0] == "fido"
    names = _built_in()  # other tests may have registered methods of theirs
    assert {"grad-cam", "integrated-gradients"} <= set(names) <= set(list_methods())
    for name in names:
        method = get_method(name)
        assert method.summary
        assert method.kinds == KINDS_OF.get(name, ("attribution",))
        assert isinstance(method.settings(), method.settings)


def test_a_simple_function_is_a_method():
    seen = []

    def brightness(classifier, images, targets):
        """How bright it is."""
        seen.append((classifier, images.shape, targets.tolist()))
        return images.mean(1)

    register_method("brightness", brightness)
    assert list_methods()[-1] == "brightness"
    assert get_method("brightness").summary == "How bright it is."
    classifier = make()
    images = photographs(3)
    masks = explain(classifier, images, "brightness", targets=[0, "tit", 1])
    assert seen == [(classifier, (3, 3, 32, 32), [0, 2, 1])]
    torch.testing.assert_close(masks.attribution, images.mean(1))
    assert masks.target == ["crow", "tit", "jay"]
    assert masks.evaluations.tolist() == [3, 3, 3]  # the prediction, kept, dropped
    register_method("brightness", constant, replace=True)
    assert get_method("brightness").summary == "Half everywhere."
    assert list_methods().count("brightness") == 1


def test_a_simple_function_may_return_numpy_arrays():
    register_method("numpy", lambda _c, images, _t: images.mean(1).numpy().astype(np.float64))
    masks = explain(make(), photographs(2), "numpy")
    assert masks.attribution.dtype == torch.float32
    torch.testing.assert_close(masks.attribution, photographs(2).mean(1))


def test_a_simple_function_explains_single_classes_only():
    register_method("constant", constant)
    for options in ({"targets": lambda logits: logits[:, 0]}, {"targets": "jay", "against": "tit"}):
        with pytest.raises(SettingsError, match="'constant' explains single classes"):
            explain(make(), photographs(1), "constant", **options)


@dataclass(frozen=True)
class Cells:
    cells: int = 2
    options: dict = field(default_factory=dict)


def test_a_method_with_settings():
    def compute(classifier, batch, settings, on_progress):
        with classifier.session() as session:
            session.logits(batch.images)
        grid = torch.linspace(0, 1, settings.cells**2).view(1, settings.cells, settings.cells)
        both = grid.repeat(len(batch), 1, 1)
        return Computed(
            {"ssr": both, "sdr": 1 - both},
            converged=torch.tensor([True, False]),
            raw=both[:, None] - 0.5,
            notes={batch.image_ids[1]: "a note"},
        )

    def check(classifier, _settings):
        if classifier.single_logit:
            raise MethodNotApplicable("two classes are needed")

    register_method("cells", Method(compute, Cells, ("ssr", "sdr"), "cells", check))
    masks = explain(make(), photographs(2), "cells", cells=3)
    assert masks.ssr.shape == (2, 3, 3)
    torch.testing.assert_close(masks.sdr, 1 - masks.ssr)
    assert masks.converged.tolist() == [True, False]
    assert masks.evaluations.tolist() == [6, 6]  # counted: prediction, the method's own, kept and dropped of two kinds
    assert masks.notes == {"1": "a note"}
    assert masks.raw.shape == (2, 1, 3, 3)
    assert explain(make(), photographs(2), "cells", settings=Cells(5)).ssr.shape == (2, 5, 5)
    assert explain(make(), photographs(2), "cells", settings=Cells(5), cells=4).ssr.shape == (2, 4, 4)

    class Single(nn.Module):
        def forward(self, x):
            return x.mean(dim=(1, 2, 3))

    with pytest.raises(MethodNotApplicable, match="two classes"):
        explain(make(Single(), None), photographs(1), "cells")


@pytest.mark.parametrize("name", ["fido", "grad-cam", "saliency"])
def test_built_in_names_are_protected(name):
    with pytest.raises(SettingsError, match=f"'{name}' is a built-in method"):
        register_method(name, constant)
    assert get_method(name).summary != "Half everywhere."


def test_what_is_no_method_is_refused():
    with pytest.raises(SettingsError, match="a function or a `Method` is needed, not str"):
        register_method("text", "text")


def test_unknown_names_and_settings_list_the_known():
    with pytest.raises(
        SettingsError, match=r"unknown method 'lime'; did you mean 'lima'\? The methods are fido, .*grad-cam"
    ):
        explain(make(), photographs(1), "lime")
    with pytest.raises(
        SettingsError,
        match=r"FidoSettings has no field 'step'; did you mean 'steps', 'ramp_steps'\? Its fields are steps, samples",
    ):
        explain(make(), photographs(1), step=3)
    register_method("constant", constant)
    with pytest.raises(SettingsError, match="NoSettings has no field 'steps'; it has none"):
        explain(make(), photographs(1), "constant", steps=3)
    with pytest.raises(SettingsError, match="settings must be FidoSettings, not NoSettings"):
        explain(make(), photographs(1), settings=NoSettings())
    with pytest.raises(SettingsError, match="settings must be FidoSettings, not type"):
        explain(make(), photographs(1), settings=FidoSettings)
    with pytest.raises(SettingsError, match=r"no class 'yay'; did you mean 'jay'"):
        explain(make(), photographs(1), targets="yay")
    with pytest.raises(SettingsError, match="2 classes for 3 images"):
        explain(make(), photographs(3), "constant", targets=[1, 2])


# What comes back


def test_masks_of_the_wrong_shape_are_an_error():
    wrong = {
        "(2, 1, 4, 4)": lambda _c, x, _t: torch.zeros(len(x), 1, 4, 4),
        "(4, 4)": lambda _c, _x, _t: torch.zeros(4, 4),
        "(1, 4, 4)": lambda _c, _x, _t: torch.zeros(1, 4, 4),
        "(2, 0, 4)": lambda _c, x, _t: torch.zeros(len(x), 0, 4),
    }
    for shape, function in wrong.items():
        register_method("wrong", function, replace=True)
        with pytest.raises(FidokitError) as caught:
            explain(make(), photographs(2), "wrong")
        assert f"'wrong' returned attribution masks of shape {shape}; a tensor (2, h, w) is needed" in str(caught.value)
    register_method("wrong", lambda *_: None, replace=True)
    with pytest.raises(FidokitError, match="masks as NoneType"):
        explain(make(), photographs(2), "wrong")


def test_masks_that_are_not_finite_or_not_in_range_are_failures():
    def spoilt(_classifier, images, _targets):
        masks = torch.full((len(images), 4, 4), 0.5)
        masks[1, 0, 0] = torch.nan
        masks[2, 3, 3] = torch.inf
        masks[3, 1, 1] = 7.0
        masks[4, 1, 1] = -0.5
        masks[5, 0, 0] = 1 + 1e-5
        return masks

    register_method("spoilt", spoilt)
    masks = explain(make(), photographs(6), "spoilt")
    assert masks.image_ids == ["0", "5"]
    assert set(masks.failures) == {"1", "2", "3", "4"}
    assert all("NaN or infinite" in masks.failures[i] for i in "12")
    assert all("outside [0, 1]" in masks.failures[i] for i in "34")
    assert masks.attribution.amax() == 1.0
    assert masks.attribution.shape == (2, 4, 4)
    for values in (
        masks.evaluations,
        masks.seconds,
        masks.converged,
        masks.score_full,
        masks.score_kept["attribution"],
    ):
        assert values.shape == (2,)
    assert "4 failed" in repr(masks)


class SometimesNaN(nn.Module):
    """NaN for a white image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = conv_net()

    def forward(self, x):
        white = (x > 0.999).flatten(1).all(1)
        return torch.where(white[:, None], torch.nan, self.net(x))


@pytest.mark.parametrize("method", ["fido", "saliency"])
def test_images_with_nan_logits_are_failures(method):
    classifier = make(SometimesNaN(), mean=(0, 0, 0), std=(1, 1, 1))
    images = photographs(3)
    images[1] = 1
    masks = explain(classifier, images, method)
    assert masks.image_ids == ["0", "2"]
    assert "NaN or infinite logits" in masks.failures["1"]
    nothing = explain(classifier, images[1:2], method)
    assert len(nothing) == 0
    assert list(nothing.failures) == ["0"]
    assert list(nothing.kinds) == list(masks.kinds)
    kind = next(iter(nothing.kinds))
    assert nothing.at(kind).shape == (0, 32, 32)
    assert list(nothing.to_frame().columns) == COLUMNS


def test_the_scores_are_those_of_the_blurred_images():
    def left(_classifier, images, _targets):
        mask = torch.zeros(len(images), 32, 32)
        mask[:, :, :16] = 1
        return mask

    register_method("left", left)
    classifier = make()
    images = photographs(3)
    masks = explain(classifier, images, "left", targets="tit")
    m = masks.attribution[:, None]
    filled = blur(images)

    def score(x):
        return torch.softmax(classifier.logits(x), 1)[:, 2]

    torch.testing.assert_close(masks.score_full, score(images), rtol=0, atol=1e-5)
    torch.testing.assert_close(masks.score_kept["attribution"], score(m * images + (1 - m) * filled), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        masks.score_dropped["attribution"], score((1 - m) * images + m * filled), rtol=0, atol=1e-5
    )
    for micro_batch in (1, 2, 3):
        again = explain(make(micro_batch=micro_batch), images, "left", targets="tit")
        torch.testing.assert_close(again.score_kept["attribution"], masks.score_kept["attribution"])
        torch.testing.assert_close(again.score_dropped["attribution"], masks.score_dropped["attribution"])


def test_targets_may_be_a_function_of_the_logits():
    def crow_or_jay(logits):
        return logits[:, :2].logsumexp(1) - logits[:, 2:].logsumexp(1)

    classifier, images = make(), photographs(3)
    masks = explain(classifier, images, "fido", targets=crow_or_jay, steps=2)
    assert masks.target == ["function:crow_or_jay"] * 3
    assert masks.against == [None] * 3
    torch.testing.assert_close(masks.score_full, torch.sigmoid(crow_or_jay(classifier.logits(images))))
    assert explain(classifier, images, "saliency", targets=crow_or_jay).target == masks.target
    with pytest.raises(SettingsError, match="`against` needs a class"):
        explain(classifier, images, targets=crow_or_jay, against="tit")


@pytest.mark.parametrize("method", ["fido", "saliency"])
@pytest.mark.parametrize(
    "function", [lambda y: y, lambda y: y[:, :1], lambda y: y.sum(), lambda y: float(y.sum()), lambda _: None]
)
def test_a_target_function_must_give_one_score_an_image(method, function):
    with pytest.raises(SettingsError, match=r"into a tensor \(B,\), one score an image"):
        explain(make(), photographs(3), method, targets=function)


@pytest.mark.parametrize(
    "targets",
    [
        ["jay", 2, "crow"],
        ("jay", 2, 0),
        torch.tensor([1, 2, 0]),
        torch.tensor([[1], [2], [0]]),
        np.array([1, 2, 0]),
        np.array(["jay", "tit", "crow"]),
        pd.Series(["jay", "tit", "crow"], index=[7, 8, 9]),
    ],
)
def test_targets_one_an_image_in_any_sequence(targets):
    register_method("constant", constant)
    assert explain(make(), photographs(3), "constant", targets=targets).target == ["jay", "tit", "crow"]


@pytest.mark.parametrize("target", ["tit", 2, np.int64(2), torch.tensor(2)])
def test_one_target_for_all_images(target):
    register_method("constant", constant)
    assert explain(make(), photographs(3), "constant", targets=target).target == ["tit"] * 3


# Photographs


@pytest.fixture
def folder(tmp_path):
    for k, image in enumerate(photographs(4, (40, 40))):
        path = tmp_path / NAMES[k] / f"{k}.png"
        path.parent.mkdir()
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
    (tmp_path / "jay" / "broken.png").write_bytes(b"no image")
    return LabelledImages.from_folder(tmp_path)


def test_labelled_images_with_one_that_cannot_be_read(folder):
    register_method("constant", constant)
    masks = explain(make(), folder, "constant", targets=folder.table["label"])
    assert masks.image_ids == ["crow/0.png", "jay/1.png", "owl/3.png", "tit/2.png"]
    assert masks.target == ["crow", "jay", "owl", "tit"]
    assert list(masks.failures) == ["jay/broken.png"]
    assert "broken.png" in masks.failures["jay/broken.png"]
    labels = folder.table["label"].tolist()
    others = ["owl" if label == "crow" else "crow" for label in labels]
    contrast = explain(make(), folder, "fido", targets=labels, against=others, steps=1)
    assert contrast.against == ["owl", "crow", "crow", "crow"]
    with pytest.raises(SettingsError, match="2 classes for 4 images"):
        explain(make(), folder, "constant", targets=labels[:2])


def test_no_image_at_all(folder):
    with pytest.raises(ImageError, match="no image to explain"):
        explain(make(), photographs(1)[:0])
    with pytest.raises(ImageError, match=r"no image to explain; .*broken.png"):
        explain(make(), folder.subset(["jay/broken.png"]))
    with pytest.raises(ImageError, match=r"no image to explain$"):
        explain(make(), folder.subset([]))


def test_a_mask_does_not_depend_on_the_position_of_its_image():
    classifier = make()
    images = photographs(4)
    options = {"steps": 3, "start": "flat", "infill": "noise"}
    all_of_them = explain(classifier, images, **options)
    assert all_of_them.image_ids == ["0", "1", "2", "3"]
    turned = explain(classifier, images[[2, 0, 3, 1]], **options)
    assert turned.image_ids == ["0", "1", "2", "3"]
    torch.testing.assert_close(turned.ssr, all_of_them.ssr[[2, 0, 3, 1]], rtol=0, atol=1e-4)
    alone = explain(classifier, images[2:3], **options)
    assert alone.image_ids == ["0"]
    torch.testing.assert_close(alone.ssr[0], all_of_them.ssr[2], rtol=0, atol=1e-4)
    other_seed = explain(classifier, images[2:3], seed=1, **options)
    assert (other_seed.ssr - alone.ssr).abs().max() > 1e-3


def test_copies_of_one_image_are_told_apart():
    images = photographs(1).repeat(3, 1, 1, 1)
    seen = []
    masks = explain(make(), images, steps=2, check_every=1, on_progress=lambda s: seen.append(s.image_ids))
    assert masks.image_ids == ["0", "1", "2"]
    assert {i for ids in seen for i in ids} == {"0", "1", "2"}
    assert len(masks.to_frame()) == 12


def test_compute_masks_gives_even_shares_of_what_was_spent():
    def compute(classifier, batch, _settings, _on_progress):
        with classifier.session() as session:
            for _ in range(5):
                session.logits(batch.images)
        return Computed({"attribution": torch.zeros(len(batch), 2, 2)})

    register_method("five", Method(compute, NoSettings, ("attribution",)))
    classifier = make()
    masks = compute_masks("five", classifier, make_batch(classifier, photographs(3)), NoSettings())
    assert masks.evaluations.tolist() == [7, 7, 7]
    bare = compute_masks("five", classifier, make_batch(classifier, photographs(3)), NoSettings(), scores=False)
    assert bare.evaluations.tolist() == [5, 5, 5]
    assert not bare.score_kept
    assert masks.image_ids == ["i0", "i1", "i2"]
    assert (masks.seconds > 0).all()
    assert masks.size == SIZE


def test_what_a_method_gives_up_is_a_failure():
    def compute(_classifier, batch, _settings, _on_progress):
        return Computed({"attribution": torch.zeros(len(batch), 2, 2)}, failures={batch.image_ids[0]: "no luck"})

    register_method("unlucky", Method(compute, NoSettings, ("attribution",)))
    masks = explain(make(), photographs(2), "unlucky")
    assert masks.image_ids == ["1"]
    assert masks.failures == {"0": "no luck"}


def test_an_error_in_a_users_method_is_his_own():
    def fails(*_):
        raise ZeroDivisionError("mine")

    register_method("fails", fails)
    classifier = make()
    with pytest.raises(ZeroDivisionError, match="mine"):
        explain(classifier, photographs(1), "fails")
    assert classifier._open == {}


# Masks


@pytest.fixture(scope="module")
def masks() -> Masks:
    return explain(make(), photographs(3), "fido", targets=[0, 1, 2], against=[1, 2, 3], steps=2, grid=4)


def test_the_table_has_the_columns_of_the_design(masks):
    frame = masks.to_frame()
    assert list(frame.columns) == [
        "image_id", "method", "kind", "target", "against", "mask", "height", "width", "evaluations", "seconds",
        "converged", "score_full", "score_kept", "score_dropped", "settings_id", "explained", "verdict",
    ]  # fmt: skip
    assert frame["image_id"].tolist() == [i for i in "012" for _ in range(4)]
    assert frame["kind"].tolist() == ["ssr", "sdr", "joint", "effect"] * 3
    assert set(frame["method"]) == {"fido"}
    assert frame["target"].tolist()[::4] == ["crow", "jay", "tit"]
    assert frame["against"].tolist()[::4] == ["jay", "tit", "owl"]
    for i, row in enumerate(frame.itertuples()):
        assert row.mask.shape == (row.height, row.width) == ((20, 20) if row.kind == "effect" else (4, 4))
        assert row.mask.dtype == np.float32
        np.testing.assert_array_equal(row.mask, masks[row.kind][i // 4].numpy())
        assert row.score_kept == float(masks.score_kept[row.kind][i // 4])
        assert row.evaluations == int(masks.evaluations[i // 4])
    assert frame.groupby("image_id")["evaluations"].nunique().eq(1).all()
    assert set(frame["settings_id"]) == {settings_id("fido", FidoSettings(steps=2, grid=4))}
    assert frame["converged"].dtype == bool
    register_method("constant", constant)
    without = explain(make(), photographs(1), "constant").to_frame()
    assert without["against"].tolist() == [None]


def test_evaluations_are_all_of_the_method_and_the_scores(masks):
    # prediction, Grad-CAM, 2 steps of 2 samples of 2 kinds, kept and dropped of 3 kinds
    assert masks.evaluations.tolist() == [1 + 1 + 26 + 4 + 8] * 3


def test_joint_is_the_geometric_mean(masks):
    torch.testing.assert_close(masks.joint, (masks.ssr * masks.sdr).sqrt())
    with pytest.raises(SettingsError, match="fido makes no 'attribution' masks, only ssr, sdr, joint, effect"):
        _ = masks.attribution


def test_at_upsamples(masks):
    assert masks.at("joint").shape == (3, 32, 32)
    assert masks.at("joint", (5, 7)).shape == (3, 5, 7)
    assert masks.at("joint", (4, 4)) is masks.joint
    expected = nn.functional.interpolate(masks.ssr[:, None], size=(32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(masks.at("ssr"), expected)
    with pytest.raises(SettingsError, match="no 'attribution' masks"):
        masks.at("attribution")


def test_upsample_by_hand():
    mask = torch.tensor([[[0.0, 1.0]]])
    torch.testing.assert_close(resize_masks(mask, (1, 4)), torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))
    assert resize_masks(torch.rand(2, 3, 4, 5), (8, 10)).shape == (2, 3, 8, 10)
    assert resize_masks(torch.rand(0, 4, 5), (8, 10)).shape == (0, 8, 10)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (torch.tensor([True, False, True]), ["0", "2"]),
        (np.array([True, False, True]), ["0", "2"]),
        (torch.tensor([2, 0]), ["2", "0"]),
        ([2, 1], ["2", "1"]),
        (slice(1, None), ["1", "2"]),
        (torch.zeros(3, dtype=torch.bool), []),
        (1, ["1"]),
    ],
)
def test_select(masks, rows, expected):
    chosen = masks.select(rows)
    assert chosen.image_ids == expected
    index = [int(i) for i in expected]
    torch.testing.assert_close(chosen.joint, masks.joint[index])
    torch.testing.assert_close(chosen.score_dropped["sdr"], masks.score_dropped["sdr"][index])
    assert chosen.target == [masks.target[i] for i in index]
    assert chosen.against == [masks.against[i] for i in index]
    assert len(chosen) == len(chosen.to_frame()) / 4 == len(expected)
    assert len(masks) == 3


def test_settings_ids():
    default = settings_id("fido", FidoSettings())
    assert default == settings_id("fido", FidoSettings()) == settings_id("fido", FidoSettings(steps=12))
    assert len(default) == 12
    assert int(default, 16) >= 0
    others = [
        settings_id("other", FidoSettings()),
        settings_id("fido", FidoSettings(steps=11)),
        settings_id("fido", FidoSettings(infill="mean")),
        settings_id("fido", FidoSettings(infill=("blur",))),
        settings_id("fido", FidoSettings(infill=lambda x, _m: x)),
        settings_id("fido", FidoSettings(infill=blur)),
        settings_id("fido", FidoSettings(grid=None)),
        settings_id("fido", FidoSettings.quality()),
        settings_id("fido", FidoSettings.published()),
    ]
    assert len({default, *others}) == 10
    listed = FidoSettings(infill=["blur", ("noise", 2.0)])
    assert settings_id("fido", listed) == settings_id("fido", FidoSettings(infill=("blur", ("noise", 2.0))))


def test_settings_are_written_as_plain_values():
    @dataclass(frozen=True)
    class Inner:
        x: float = 0.5

    @dataclass(frozen=True)
    class Outer:
        inner: Inner = Inner()
        pair: tuple = (1, "a")
        table: dict = field(default_factory=lambda: {1: Inner(2.0)})
        function: object = blur
        number: object = np.float32(0.25)

    plain = settings_dict(Outer())
    assert plain == {
        "inner": {"x": 0.5},
        "pair": [1, "a"],
        "table": {"1": {"x": 2.0}},
        "function": "fidokit.methods.infill.blur",
        "number": 0.25,
    }
    assert json.loads(json.dumps(plain)) == plain
    assert settings_id("m", Outer()) != settings_id("m", replace(Outer(), inner=Inner(0.6)))
    arrays = [settings_id("m", replace(Outer(), number=np.array([k]))) for k in (1, 1, 2)]
    assert arrays[0] == arrays[1] != arrays[2]


def test_the_package_and_the_method_are_one():
    assert fk.explain is explain
    assert fk.Masks is Masks
