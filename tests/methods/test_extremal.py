"""Extremal perturbations: known answers, updates, independence of neighbours, no waiting, stopping and failing."""

from __future__ import annotations

import math

import pytest
import torch
from nets import LEFT, PATCH_SIZE, RIGHT, ConvNet, PatchLogit, conv_net, photographs
from test_fido import nothing_waits
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import fidokit as fk
from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.methods import compute_masks
from fidokit.methods.base import Batch
from fidokit.methods.extremal import Descent, State, combined, compute
from fidokit.methods.perturbation_settings import GAMES, ExtremalSettings
from fidokit.methods.smooth_masks import area_loss
from fidokit.models.goals import Goal

NAME = "extremal-perturbation"
SIZE = (32, 32)
FAST = ExtremalSettings(areas=(0.1, 0.3), steps=12, lattice=8, levels=3)


def tiny(module=None, **options) -> fk.Classifier:
    defaults = {"size": SIZE, "device": "cpu", "precision": "float32", "micro_batch": 16}
    return fk.Classifier(conv_net() if module is None else module, **(defaults | options))


def batch_of(classifier, images, ids=None, targets=None, against=None):
    logits = classifier.logits(images)
    ids = [f"i{k}" for k in range(len(images))] if ids is None else ids
    return Batch(images, ids, classifier.goal(logits, targets, against), logits)


# Truth


def patch_masks(how, **settings):
    classifier = tiny(PatchLogit(how), mean=(0, 0, 0), std=(1, 1, 1), size=PATCH_SIZE)
    chosen = ExtremalSettings(
        **{"steps": 60, "sigma": 0.05, "baseline": "black", "smoothing": 0.0, "mirror": False} | settings
    )
    return fk.explain(classifier, torch.ones(1, 3, *PATCH_SIZE), NAME, targets="1", settings=chosen)


@pytest.mark.parametrize(
    ("how", "game", "left", "right"),
    [
        ("one", "preservation", True, False),
        ("one", "deletion", True, False),
        ("one", "hybrid", True, False),
        ("minimum", "preservation", True, True),
        ("minimum", "deletion", True, False),
        ("maximum", "preservation", True, False),
        ("maximum", "deletion", True, True),
    ],
)
def test_masks_find_the_known_regions(how, game, left, right):
    # A patch is 1/16 of the image.
    area = 0.07 * (left + right)
    masks = patch_masks(how, game=game, areas=(area,))
    mask = masks.at("attribution")[0]
    outside = torch.ones(PATCH_SIZE, dtype=torch.bool)
    outside[LEFT] = outside[RIGHT] = False
    for patch, held in ((LEFT, left), (RIGHT, right)):
        inside = float(mask[patch].mean())
        assert inside > 0.9 if held else inside < 0.1, (patch, inside)
    assert float(mask[outside].mean()) < 0.1
    assert masks.converged.all()


def test_masks_have_the_areas_that_were_asked_for():
    areas = (0.05, 0.2, 0.5)
    masks = patch_masks("one", areas=areas)
    assert masks.raw.shape == (1, 3, 64, 64)
    for mask, area in zip(masks.raw[0], areas, strict=True):
        assert float(mask.mean()) == pytest.approx(area, rel=0.2)
        assert float(((mask < 0.2) | (mask > 0.8)).float().mean()) > 0.85
    assert masks.converged.all()
    torch.testing.assert_close(masks.attribution, masks.raw.mean(1))


def test_a_mask_on_its_way_has_not_converged():
    assert not patch_masks("one", steps=2).converged.any()


def test_the_map_is_the_mean_over_the_areas_and_smooth_on_request():
    masks = torch.zeros(1, 2, 20, 20)
    masks[:, 1, 5:10, 5:10] = 1
    assert combined(masks, 0)[0, 7, 7] == 0.5
    smooth = combined(masks, 0.1)
    assert 0.2 < smooth[0, 7, 7] < 0.5
    assert smooth[0, 7, 12] > 0
    assert float(smooth.sum()) == pytest.approx(12.5, rel=1e-3)


# The step


class Smooth(nn.Module):
    def __init__(self, size):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3 * size[0] * size[1], 3)

    def forward(self, x):
        return torch.tanh(self.layer(x.flatten(1))) * 3


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("against", [None, 2])
def test_the_gradient_agrees_with_finite_differences(game, against):
    size = (16, 20)
    classifier = tiny(Smooth(size), size=size)
    settings = ExtremalSettings(areas=(0.2, 0.5), steps=10, lattice=(3, 4), levels=2, game=game, mirror=False)
    images = photographs(2, size)
    with classifier.session() as session:
        descent = Descent(session, settings, size)
        goal = classifier.goal(session.logits(images), [1, 0], against)
        state = descent.start(images, goal)
        state.seeds.copy_(torch.rand(state.seeds.shape, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1)
        gradient, score = descent.gradient(state, 5)

        def loss(row):
            mask = descent.masks(state.seeds[row : row + 1])
            share = nn.functional.interpolate(mask[:, None], size=size, mode="bilinear")
            x, strongest = images[row // 2][None], fk.methods.infill.blur(images[row // 2][None], settings.max_blur)

            def value(share):
                logits = classifier.logits(share * x + (1 - share) * strongest)
                return float(goal[row // 2 : row // 2 + 1].class_logit(logits))

            reward = {
                "preservation": lambda: value(share),
                "deletion": lambda: -value(1 - share),
                "hybrid": lambda: value(share) - value(1 - share),
            }[game]()
            weight = settings.area_growth**0.5 * settings.area_weight
            return weight * float(area_loss(mask.double(), state.template[row : row + 1].double())) - reward

        for row, i, j in ((0, 1, 2), (1, 0, 0), (3, 2, 3)):
            centre, step = float(state.seeds[row, i, j]), 5e-3
            values = []
            for way in (step, -step):
                state.seeds[row, i, j] = centre + way
                values.append(loss(row))
            state.seeds[row, i, j] = centre
            expected = (values[0] - values[1]) / (2 * step)
            assert float(gradient[row, i, j]) == pytest.approx(expected, abs=2e-2 + 0.02 * abs(expected))
    asked = {"preservation": [True, False], "deletion": [False, True], "hybrid": [True, True]}[game]
    assert score.isfinite().all(0).tolist() == asked


def test_updates_are_those_of_torch_sgd():
    settings = ExtremalSettings(areas=(0.2,), steps=6, lattice=6, lr=0.02)
    classifier = tiny()
    images = photographs(2)
    with classifier.session() as session:
        descent = Descent(session, settings, SIZE)
        state = descent.start(images, classifier.goal(session.logits(images)))
        seeds = state.seeds.clone().requires_grad_(True)
        sgd = torch.optim.SGD([seeds], lr=0.02, momentum=0.9, dampening=0.9)
        for done in range(6):
            seeds.grad, _ = descent.gradient(state, done)
            descent.step(state, done)
            sgd.step()
            seeds.data.clamp_(0, 1)
            torch.testing.assert_close(state.seeds, seeds.detach(), atol=1e-6, rtol=1e-5)
    assert (seeds < 0.999).any()


def test_every_other_step_shows_the_mirror_image():
    class Half(nn.Module):
        """Brightness of the left half."""

        def forward(self, x):
            return x[..., : SIZE[1] // 2].mean(dim=(1, 2, 3))[:, None]

    classifier = tiny(Half(), mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.zeros(1, 3, *SIZE)
    images[..., : SIZE[1] // 2] = 1.0
    for mirror, expected in ((True, [True, False]), (False, [False, False])):
        settings = ExtremalSettings(areas=(0.5,), lattice=8, baseline="black", mirror=mirror)
        with classifier.session() as session:
            descent = Descent(session, settings, SIZE)
            state = descent.start(images, classifier.goal(session.logits(images), 1))
            scores = [float(descent.gradient(state, done)[1][0, 0]) for done in range(2)]
        assert [score == pytest.approx(0.5) for score in scores] == expected


# Many images


def test_names_of_images_do_not_matter():
    first, other = (compute(tiny(), batch_of(tiny(), photographs(2), ids), FAST).raw for ids in (None, ["a", "b"]))
    assert torch.equal(first, other)


@pytest.mark.parametrize(("game", "times"), [("preservation", 1), ("hybrid", 2)])
def test_evaluations_are_those_of_the_tally(game, times):
    classifier = tiny()
    with classifier.session():
        batch = batch_of(classifier, photographs(3))
        before = classifier.counter.evaluations
        computed = compute(classifier, batch, ExtremalSettings(steps=5, lattice=4, game=game))
        assert computed.evaluations.tolist() == [5 * 4 * times] * 3
        assert classifier.counter.evaluations - before == 3 * 5 * 4 * times


def test_contrasts_and_functions_go_through_the_goal():
    images = photographs(2)
    contrast = fk.explain(tiny(), images, NAME, targets=0, against=1, settings=FAST)
    function = fk.explain(tiny(), images, NAME, targets=lambda logits: logits[:, 0] - logits[:, 1], settings=FAST)
    plain = fk.explain(tiny(), images, NAME, targets=0, settings=FAST)
    assert contrast.against == ["1", "1"]
    torch.testing.assert_close(contrast.raw, function.raw)
    assert (contrast.raw - plain.raw).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(20, 36), (5, 7)])
@pytest.mark.parametrize("baseline", ["blur", "mean", "black", "white"])
def test_any_size_and_baseline(size, baseline):
    masks = fk.explain(tiny(size=size), photographs(1, size), NAME, settings=FAST, baseline=baseline)
    assert masks.attribution.shape == (1, 2 * min(8, size[0]), 2 * min(8, size[1]))
    assert 0 <= masks.attribution.min() <= masks.attribution.max() <= 1


# Progress, stopping, failing


def test_progress_and_a_request_to_stop():
    classifier = tiny(micro_batch=4)
    batch = batch_of(classifier, photographs(5))
    seen = []
    whole = compute_masks(NAME, classifier, batch, FAST, seen.append)
    # Two images of two areas at once, looked at after ten steps and after the last one.
    assert [(s.image_ids, s.evaluations, s.finished) for s in seen[:4]] == [
        (["i0", "i1"], 40, 0),
        (["i0", "i1"], 48, 2),
        (["i2", "i3"], 88, 2),
        (["i2", "i3"], 96, 4),
    ]
    assert {s.total for s in seen} == {120}
    assert all(((s.score_kept > 0) & (s.score_kept < 1)).all() and s.score_dropped.isnan().all() for s in seen)
    torch.testing.assert_close(seen[3].masks["attribution"], whole.attribution[2:4])
    stopped = compute_masks(NAME, classifier, batch, FAST, lambda s: s.evaluations == 88)
    assert stopped.image_ids == ["i0", "i1", "i2", "i3"]
    assert stopped.finished.tolist() == [True, True, False, False]
    assert (stopped.evaluations - 2).tolist() == [24, 24, 20, 20]
    torch.testing.assert_close(stopped.attribution[:2], whole.attribution[:2])


def test_ctrl_c_keeps_what_was_begun():
    calls = 0

    class Interrupted(ConvNet):
        def forward(self, x):
            nonlocal calls
            calls += x.requires_grad and len(x) == 4
            if calls == 16:
                calls += 1
                raise KeyboardInterrupt
            return super().forward(x)

    classifier = tiny(Interrupted().eval(), micro_batch=4)
    result = compute(classifier, batch_of(classifier, photographs(5)), FAST)
    assert result.interrupted
    assert result.finished.tolist() == [True, True, False, False, False]
    assert result.evaluations[:2].tolist() == [24, 24]
    assert 0 < result.evaluations[2] < 24
    assert result.kinds["attribution"][:4].isfinite().all()
    assert result.kinds["attribution"][4].isnan().all()


def test_a_classifier_without_gradient_is_refused():
    class Rounded(ConvNet):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(MethodNotApplicable, match="gradient"):
        fk.explain(tiny(Rounded().eval()), photographs(1), NAME, settings=FAST)


# No waiting


def step_twice(settings: ExtremalSettings, move, mode) -> State:
    """Two steps of three images on a session whose tensors have been moved, guarded."""
    classifier = tiny()
    with classifier.session() as session:
        goal = Goal(classifier.class_names, "softmax", torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
        descent = Descent(session, settings, SIZE)
        state = descent.start(torch.rand(3, 3, *SIZE), goal)
        for name in ("levels", "seeds", "velocity", "template", "score"):
            setattr(state, name, move(getattr(state, name)))
        state.goal = Goal(goal.class_names, goal.head, move(goal.target), move(goal.against))
        descent.masks.offsets, descent.masks.weight = move(descent.masks.offsets), move(descent.masks.weight)
        for name, tensor in [*session.module.named_parameters(), *session.module.named_buffers()]:
            owner, _, last = name.rpartition(".")
            module = session.module.get_submodule(owner)
            table = module._parameters if last in module._parameters else module._buffers
            table[last] = move(tensor.detach())
        session.device = state.seeds.device
        with mode, nothing_waits():
            for done in range(2):
                descent.step(state, done)
    return state


STEPS = [ExtremalSettings(lattice=6, levels=3, game=game) for game in GAMES]


@pytest.mark.parametrize("settings", STEPS)
def test_the_step_never_reads_a_value_back(settings):
    fake = FakeTensorMode()
    assert isinstance(step_twice(settings, fake.from_tensor, fake).seeds, FakeTensor)


@pytest.mark.parametrize("settings", STEPS)
def test_the_step_stays_on_its_device(settings):
    state = step_twice(settings, lambda tensor: tensor.to("meta"), torch.no_grad())
    assert state.seeds.device.type == "meta"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_masks_of_the_cpu():
    images = photographs(5)
    for method, settings in ((NAME, FAST), ("rise", None)):
        on_cpu = fk.explain(tiny(), images, method, settings=settings)
        on_gpu = fk.explain(tiny(device="cuda"), images, method, settings=settings)
        assert float((on_cpu.attribution - on_gpu.attribution).abs().mean()) < 1e-2


# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("areas", ()),
        ("areas", 0.1),
        ("areas", (0.1, 1.0)),
        ("areas", (0.0,)),
        ("areas", ("0.1",)),
        ("game", "dual"),
        ("steps", 0),
        ("steps", 2.5),
        ("lattice", 1),
        ("lattice", (8,)),
        ("detail", 0),
        ("sigma", 0.0),
        ("sigma", 1.5),
        ("sigma", math.nan),
        ("baseline", "grey"),
        ("max_blur", -0.1),
        ("levels", 1),
        ("mirror", 1),
        ("lr", 0.0),
        ("momentum", 1.0),
        ("area_weight", -1.0),
        ("area_growth", math.inf),
        ("smoothing", -0.1),
    ],
)
def test_settings_are_checked_where_they_are_made(field, value):
    with pytest.raises(SettingsError, match=field):
        ExtremalSettings(**{field: value})


def test_areas_may_be_a_list():
    assert ExtremalSettings(areas=[0.1, 0.2]) == ExtremalSettings(areas=(0.1, 0.2))


def test_the_published_settings_are_those_of_the_authors():
    published = ExtremalSettings.published()
    assert published.areas == (0.025, 0.05, 0.1, 0.2)
    assert (published.steps, published.lr, published.momentum, published.area_weight) == (800, 0.01, 0.9, 300)
    assert published.area_growth ** (1 / 800) == pytest.approx(1.0035)
    # On an image of 224 pixels: seeds 7 pixels apart, spots of 21, blurs up to 20.
    assert 224 / published.lattice == 7
    assert published.sigma * 224 == pytest.approx(21)
    assert published.max_blur * 224 == pytest.approx(20)
    assert (published.levels, published.game, published.mirror, published.smoothing) == (8, "preservation", True, 0.09)
    assert ExtremalSettings.published(areas=(0.1,)).areas == (0.1,)
