"""The mask optimiser: known answers, one sign, independence of neighbours, no waiting, stopping and failing."""

from __future__ import annotations

import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import fields

import pytest
import torch
from nets import LEFT, PATCH_SIZE, RIGHT, PatchLogit, conv_net, photographs
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods import infill
from fidokit.methods.blend import upsample_kept
from fidokit.methods.concrete import SAMPLERS
from fidokit.methods.infill import INFILLS
from fidokit.methods.optimiser import Optimiser, Slots
from fidokit.models.goals import EXPLAINED, Goal, area, total_variation


def tiny(**options) -> fk.Classifier:
    defaults = {"size": (32, 32), "precision": "float32", "micro_batch": 16, "device": "cpu"}
    return fk.Classifier(options.pop("module", None) or conv_net(), **(defaults | options))


FAST = fk.FidoSettings(grid=8, steps=6, samples=2)


# --- truth ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "ssr", "sdr"),
    [
        ("one", (True, False), (True, False)),
        ("minimum", (True, True), (True, False)),
        ("maximum", (True, False), (True, True)),
    ],
)
def test_masks_find_the_known_regions(how, ssr, sdr):
    classifier = tiny(module=PatchLogit(how), mean=(0, 0, 0), std=(1, 1, 1), size=PATCH_SIZE)
    settings = fk.FidoSettings.quality(infill="zeros")
    masks = fk.explain(classifier, torch.ones(1, 3, *PATCH_SIZE), targets="1", settings=settings)
    outside = torch.ones(PATCH_SIZE, dtype=torch.bool)
    outside[LEFT] = outside[RIGHT] = False
    for kind, holds in (("ssr", ssr), ("sdr", sdr)):
        mask = masks.at(kind)[0]
        for patch, held in zip((LEFT, RIGHT), holds, strict=True):
            inside = float(mask[patch].mean())
            assert inside > 0.9 if held else inside < 0.1, (how, kind, patch, inside)
        assert float(mask[outside].mean()) < 0.1


# --- one sign -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", [0, 1])
def test_raising_a_logit_raises_sample_read_out_and_area_penalty(sampler, temperature, kind):
    class Total(nn.Module):
        """Brightness of the corner that the first cell alone decides: white pixels are kept, black ones dropped."""

        def forward(self, x):
            return x[:, :, :8, :8].mean(dim=(1, 2, 3))[:, None]

    classifier = tiny(module=Total(), mean=(0, 0, 0), std=(1, 1, 1))
    settings = fk.FidoSettings(
        sampler=sampler, temperature=temperature, grid=2, samples=64, infill="zeros", start="flat", total_variation=0.0
    )
    with classifier.session() as session:
        goal = Goal(classifier.class_names, "sigmoid", torch.tensor([1]))
        optimiser = Optimiser(session, settings, goal)
        brightness, penalty = [], []
        for level in (-1.0, 0.0, 1.0):
            slots = optimiser.fill(torch.ones(1, 3, 32, 32), torch.tensor([7]), goal, None)
            slots.theta[:, kind, 0, 0] = level
            gradient, odds = optimiser.gradient(slots)
            brightness.append(float(odds[0, kind]))
            # With no effect on the logit, at the lower right, the gradient is the area's alone, and positive.
            penalty.append(float(gradient[0, kind, 1, 1]))
            mask = torch.sigmoid(slots.theta[0, kind])
            assert mask[0, 0] == pytest.approx(float(torch.sigmoid(torch.tensor(level))))
    rising = brightness == sorted(brightness)
    falling = brightness == sorted(brightness, reverse=True)
    assert rising if kind == 0 else falling
    assert brightness[0] != brightness[-1]
    # the area's weight on the mean of 4 cells, derivative of the sigmoid at 0 is a quarter
    assert penalty == pytest.approx([settings.area / 4 / 4] * 3)


@pytest.mark.parametrize("explained", EXPLAINED)
def test_what_is_explained_drives_the_masks_and_scores_stay_probabilities(explained):
    class Sides(nn.Module):
        """Class 0 likes the left half bright; class 1 dislikes the right half bright."""

        def forward(self, x):
            left, right = x[..., :16].mean((1, 2, 3)), x[..., 16:].mean((1, 2, 3))
            return torch.stack([6 * left + 2, 4 - 6 * right, 0 * left + 4], 1)

    classifier = tiny(module=Sides(), mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.ones(1, 3, 32, 32)
    seen = []
    masks = fk.explain(
        classifier, images, targets=0, start="flat", infill="zeros", steps=20, area=1.0, total_variation=0.0,
        explained=explained, tolerance=0.0, grid=4, on_progress=lambda snapshot: seen.append(snapshot),
    )  # fmt: skip
    assert masks.ssr[0, :, 0].mean() > 0.9
    # The logit by itself knows nothing of what other classes dislike; the others keep the right half dark or bright.
    bare = fk.explain(
        classifier, images, targets=0, start="flat", infill="zeros", steps=20, area=0.0, total_variation=0.0,
        explained=explained, tolerance=0.0, grid=4,
    )  # fmt: skip
    moved = float((bare.ssr[0, :, 3:] - 0.5).abs().mean())
    assert (moved < 0.02) == (explained == "logit")
    whole = float(torch.softmax(torch.tensor([8.0, -2.0, 4.0]), 0)[0])
    assert float(masks.score_full) == pytest.approx(whole, abs=1e-3)
    assert 0.5 < float(seen[-1].score_kept) <= whole + 1e-3
    # With the left half dropped it is nearer to 2 against 4, whereas the sigmoid of a logit of 2 is 0.88.
    assert float(seen[-1].score_dropped) < 0.6


def test_the_loss_gradient_agrees_with_finite_differences():
    class Smooth(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3 * 16 * 16, 3)

        def forward(self, x):
            return torch.tanh(self.layer(x.flatten(1))) * 3

    torch.manual_seed(0)
    classifier = tiny(module=Smooth(), size=(16, 16))
    settings = fk.FidoSettings(grid=3, samples=2, start="flat", ramp_steps=4, infill="mean", explained="log-odds")
    images = photographs(1, (16, 16))
    with classifier.session() as session:
        goal = Goal(classifier.class_names, "softmax", torch.tensor([1]))
        optimiser = Optimiser(session, settings, goal)
        slots = optimiser.fill(images, torch.tensor([3]), goal, None)
        slots.theta.copy_(torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(2)))
        gradient, _ = optimiser.gradient(slots)

        def loss(theta):
            slots.theta.copy_(theta)
            _, odds = optimiser.gradient(slots)
            mask = torch.sigmoid(theta.double())[0]
            down, across = mask.diff(dim=1).abs().mean((1, 2)), mask.diff(dim=2).abs().mean((1, 2))
            price = settings.area * mask.mean((1, 2)) + settings.total_variation * (down + across)
            return float(odds[0, 1] - odds[0, 0]) + 0.25 * float(price.sum())

        centre, step = slots.theta.clone(), 2e-2
        for index in ((0, 0, 0, 0), (0, 0, 1, 2), (0, 1, 2, 1), (0, 1, 0, 2)):
            up, down = centre.clone(), centre.clone()
            up[index] += step
            down[index] -= step
            expected = (loss(up) - loss(down)) / (2 * step)
            assert float(gradient[index]) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("published", [False, True])
def test_updates_are_those_of_torch_adam(published):
    settings = (
        fk.FidoSettings.published(grid=4, steps=5)
        if published
        else fk.FidoSettings(grid=4, steps=5, start="flat", tolerance=0.0)
    )
    classifier = tiny()
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(1, 2, 4, 4, generator=generator) for _ in range(5)]
    with classifier.session() as session:
        goal = Goal(classifier.class_names, "softmax", torch.tensor([0]))
        optimiser = Optimiser(session, settings, goal)
        slots = optimiser.fill(photographs(1), torch.tensor([0]), goal, None)
        theta = slots.theta.clone().requires_grad_(True)
        adam = torch.optim.AdamW(
            [theta],
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )
        lowest = settings.lr * settings.lr_end
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.steps, eta_min=lowest)
        for gradient in gradients:
            theta.grad = gradient.clone()
            adam.step()
            cosine.step()
            optimiser._update(slots, gradient, torch.zeros(1, 2), torch.zeros(1, 2))
    torch.testing.assert_close(slots.theta, theta.detach(), atol=1e-4, rtol=1e-4)


# --- many images ----------------------------------------------------------------------------------------------------


def test_converged_images_stop_early_and_make_room():
    class Indifferent(nn.Module):
        """Blind to bright images, so that their masks only shrink and settle; others keep it busy."""

        def forward(self, x):
            level = x.mean(dim=(1, 2, 3))
            return torch.stack([level * (level < 0.5) * 30, level * 0], dim=1)

    classifier = tiny(module=Indifferent(), mean=(0, 0, 0), std=(1, 1, 1), micro_batch=8)
    dim = photographs(6) * 0.4
    images = torch.cat([dim[:3], dim[3:] * 0 + 0.9])
    settings = fk.FidoSettings(grid=4, steps=60, start="flat", tolerance=5e-3, check_every=2, infill="original")
    masks = fk.explain(classifier, images, targets=0, settings=settings)
    assert len(masks) == 6
    assert masks.finished.all()
    assert masks.converged.any()
    early = masks.evaluations < 1 + 60 * 4 + 6
    assert torch.equal(early, masks.converged)


def test_the_evaluations_column_is_what_a_hook_counts():
    counted = []
    module = conv_net()
    module.register_forward_hook(lambda _m, args, _out: counted.append(len(args[0])))
    classifier = tiny(module=module)
    with classifier.session():
        fk.explain(classifier, photographs(2), settings=FAST)  # finds the layer once
        counted.clear()
        masks = fk.explain(classifier, photographs(5), settings=FAST)
    assert int(masks.evaluations.sum()) == sum(counted)


def test_the_fast_settings_cost_at_most_24_evaluations_and_find_what_the_default_finds():
    images, classifier = photographs(3, (32, 32)), tiny()
    fast, default = (
        fk.explain(classifier, images, settings=s(grid=8)) for s in (fk.FidoSettings.fast, fk.FidoSettings)
    )
    assert int(fast.evaluations.max()) <= 24
    assert fk.FidoSettings.fast(steps=3).steps == 3
    for mine, theirs in zip(fast.joint.flatten(1), default.joint.flatten(1), strict=True):
        assert float(torch.corrcoef(torch.stack([mine, theirs]))[0, 1]) > 0.7


def test_the_default_costs_at_most_60_evaluations_and_the_published_settings_480():
    classifier = tiny()
    assert int(fk.explain(classifier, photographs(1)).evaluations) <= 60
    published = fk.FidoSettings.published()
    assert published.steps * published.samples * 2 == 480
    assert fk.FidoSettings.quality().steps * fk.FidoSettings.quality().samples * 2 <= 480


@pytest.mark.parametrize("infill", [*INFILLS, ("mean", "inpaint"), (("inpaint", 2.0), "shuffle", "blur")])
def test_every_infill_runs(infill):
    masks = fk.explain(tiny(), photographs(2), settings=FAST, infill=infill)
    assert masks.joint.shape == (2, 8, 8)
    assert torch.isfinite(masks.joint).all()


def test_each_kind_has_its_own_infill():
    images, classifier = photographs(2), tiny()

    def masks(**infills):
        return fk.explain(classifier, images, settings=FAST, tolerance=0.0, explained="log-odds", **infills)

    both = masks(ssr_infill="inpaint", sdr_infill="zeros")
    torch.testing.assert_close(both.ssr, masks(infill="inpaint").ssr, atol=1e-4, rtol=0)
    torch.testing.assert_close(both.sdr, masks(infill="zeros").sdr, atol=1e-4, rtol=0)
    assert (both.ssr - masks(infill="zeros").ssr).abs().max() > 0.01
    assert (both.sdr - masks(infill="inpaint").sdr).abs().max() > 0.01


def test_inpaint_in_the_step_is_the_infill_of_that_name():
    classifier, images = tiny(size=(96, 96)), photographs(2, (96, 96))
    with classifier.session() as session:
        goal = Goal(classifier.class_names, "softmax", torch.tensor([0, 1]))
        optimiser = Optimiser(session, fk.FidoSettings(grid=6, infill=("mean", "inpaint")), goal)
        slots = optimiser.fill(images, torch.tensor([1, 2]), goal, None)
        cells = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        image, entry = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        filled = session.denormalise(optimiser._filled(slots, image, entry, cells))
    kept = upsample_kept(cells, (96, 96))
    torch.testing.assert_close(filled[::2], infill.mean(images), rtol=0, atol=1e-4)
    torch.testing.assert_close(filled[1::2], infill.inpaint(images, kept[1::2]), rtol=0, atol=0.02)


def test_a_users_own_infill_sees_images_and_kept_shares():
    seen = []

    def paint(images, kept):
        seen.append((images, kept))
        return torch.full_like(images, 0.25)

    images = photographs(2)
    masks = fk.explain(tiny(), images, settings=FAST, infill=paint)
    assert masks.joint.shape == (2, 8, 8)
    got, kept = seen[0]
    assert kept.shape == (len(got), 1, 32, 32)
    assert 0 <= float(kept.min()) <= float(kept.max()) <= 1
    torch.testing.assert_close(got[0], images[0], atol=1e-4, rtol=0)


def test_a_contrast_explains_another_thing_than_the_class():
    classifier = tiny()
    images = photographs(2)
    plain = fk.explain(classifier, images, targets=0, settings=FAST)
    contrast = fk.explain(classifier, images, targets=0, against=1, settings=FAST)
    assert contrast.against == ["1", "1"]
    assert float((plain.joint - contrast.joint).abs().max()) > 1e-3


def test_grids_from_one_cell_to_every_pixel():
    for grid, shape in ((1, (1, 1)), ((5, 9), (5, 9)), (None, (32, 32)), (100, (32, 32))):
        assert fk.explain(tiny(), photographs(1), settings=FAST, grid=grid).ssr.shape == (1, *shape)


def test_the_same_seed_gives_the_same_mask_and_another_another():
    first, again, other = (fk.explain(tiny(), photographs(1), settings=FAST, seed=s).joint for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_a_layer_for_grad_cam_the_start_is_flat_and_says_so():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3 * 32 * 32, 3)

        def forward(self, x):
            return self.layer(x.flatten(1))

    masks = fk.explain(tiny(module=Flat()), photographs(1), settings=FAST)
    assert masks.notes["0"].startswith("flat start")


# --- progress, stopping, failing ------------------------------------------------------------------------------------


def test_progress_reports_and_a_request_to_stop_keeps_the_masks_so_far():
    snapshots = []

    def watch(snapshot):
        snapshots.append(snapshot)
        return len(snapshots) == 2

    masks = fk.explain(tiny(), photographs(6), settings=FAST, steps=40, check_every=2, on_progress=watch)
    assert len(snapshots) == 2
    assert snapshots[0].evaluations < snapshots[1].evaluations < snapshots[1].total
    assert set(snapshots[1].masks) == {"ssr", "sdr", "joint", "effect"}
    # micro-batch 16, 4 evaluations an image and step: four images were in work, two had not begun
    assert masks.image_ids == ["0", "1", "2", "3"]
    assert not masks.finished.any()
    torch.testing.assert_close(masks.joint, snapshots[1].masks["joint"])


@pytest.mark.parametrize("ramp_steps", [0, 100])
def test_progress_reports_the_loss_that_is_minimised(ramp_steps):
    snapshots = []
    options = {
        "steps": 6,
        "check_every": 2,
        "explained": "log-odds",
        "area": 3.0,
        "total_variation": 2.0,
        "ramp_steps": ramp_steps,
    }
    fk.explain(tiny(), photographs(2), settings=FAST, on_progress=snapshots.append, **options)
    for number, snapshot in zip((2, 4), snapshots, strict=False):
        odds = torch.logit(snapshot.score_dropped.double()) - torch.logit(snapshot.score_kept.double())
        price = sum(
            3 * area(mask) + 2 * total_variation(mask)
            for kind, mask in snapshot.masks.items()
            if kind in ("ssr", "sdr")
        )
        share = number / ramp_steps if ramp_steps else 1
        torch.testing.assert_close(snapshot.loss.double(), odds + share * price, atol=1e-3, rtol=1e-3)
    assert len(snapshots) >= 2


def test_ctrl_c_while_slots_are_refilled_keeps_what_was_finished(monkeypatch):
    fill, calls = Optimiser.fill, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fill(self, *arguments)

    monkeypatch.setattr(Optimiser, "fill", interrupted)
    masks = fk.explain(tiny(), photographs(8), settings=FAST, tolerance=0.0)
    assert masks.image_ids == ["0", "1", "2", "3"]
    assert masks.finished.all()


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"samples": 0},
        {"temperature": 0.0},
        {"infill": "fog"},
        {"infill": ()},
        {"infill": (("blur", -1.0),)},
        {"sdr_infill": "fog"},
        {"infill": "zeros", "ssr_infill": "mean"},
        {"sampler": "gumbel"},
        {"grid": 0},
        {"beta2": 1.0},
        {"lr_end": 0.0},
        {"start": "warm"},
        {"reduction": "max"},
    ],
)
def test_settings_are_checked_where_they_are_made(bad):
    with pytest.raises(SettingsError):
        fk.FidoSettings(**bad)


# --- no waiting -----------------------------------------------------------------------------------------------------


class NoCopies(TorchDispatchMode):
    """Forbids reading values, and copies between devices."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = str(function)
        device = kwargs.get("device")
        moved = "_to_copy" in name and device is not None and torch.device(device).type != args[0].device.type
        if "_local_scalar_dense" in name or moved:
            raise AssertionError(f"the step waits for the device: {name}")
        return function(*args, **kwargs)


class NoNewTensors(TorchFunctionMode):
    """Forbids tensors made of numbers, which a GPU waits for; a meta device makes them without any copy."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        makes = function in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy)
        if makes and not isinstance(args[0], Tensor):
            raise AssertionError(f"the step waits for the device: {function.__name__} of {args[0]!r}")
        return function(*args, **(kwargs or {}))


@contextmanager
def nothing_waits():
    """Forbids what makes the host wait for a device."""
    with NoCopies(), NoNewTensors():
        yield


def step_twice(settings: fk.FidoSettings, move, mode=None) -> Slots:
    """Two steps of three images on a session whose tensors have been moved, guarded."""
    classifier = tiny(module=conv_net())
    with classifier.session() as session:
        goal = Goal(classifier.class_names, "softmax", torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
        optimiser = Optimiser(session, settings, goal)
        slots = optimiser.fill(torch.rand(3, 3, 32, 32), torch.tensor([1, 2, 3]), goal, torch.rand(3, 4, 4))
        slots = Slots(**{f.name: move(getattr(slots, f.name)) for f in fields(slots)})
        for parameter in [*session.module.named_parameters(), *session.module.named_buffers()]:
            owner, _, name = parameter[0].rpartition(".")
            module = session.module.get_submodule(owner)
            table = module._parameters if name in module._parameters else module._buffers
            table[name] = move(parameter[1].detach())
        session._mean, session._std = move(session._mean), move(session._std)
        session.device = slots.theta.device
        optimiser._ends, optimiser._signs = move(optimiser._ends), move(optimiser._signs)
        with mode or nullcontext(), nothing_waits():
            for _ in range(2):
                optimiser.step(slots)
    return slots


STEPS = [
    fk.FidoSettings(grid=8),
    fk.FidoSettings.quality(grid=8),
    fk.FidoSettings.published(),
    fk.FidoSettings(grid=8, sampler="original", temperature=0.1, samples=3),
    fk.FidoSettings(grid=8, infill=lambda images, kept: images * 0),
]


@pytest.mark.parametrize("settings", STEPS)
def test_the_step_never_reads_a_value_back(settings):
    fake = FakeTensorMode()
    slots = step_twice(settings, fake.from_tensor, fake)
    assert isinstance(slots.theta, FakeTensor)


@pytest.mark.parametrize("settings", STEPS)
def test_the_step_stays_on_its_device(settings):
    assert step_twice(settings, lambda tensor: tensor.to("meta")).theta.device.type == "meta"


def test_the_guard_against_waiting_can_fail():
    numbers = torch.ones(1)
    for wait in (
        numbers.item,
        lambda: numbers.to("meta"),
        lambda: torch.tensor(1, device="meta"),
        lambda: torch.as_tensor(1, device="meta"),
    ):
        with nothing_waits(), pytest.raises(AssertionError, match="waits"):
            wait()
    with nothing_waits():
        assert torch.as_tensor(numbers) is numbers
    with FakeTensorMode(), pytest.raises(Exception, match=r"data-dependent|DataDependent|_local_scalar_dense"):
        torch.ones(2).sum().item()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("graph", [False, True])
def test_cuda_gives_the_masks_of_the_cpu(graph):
    images = photographs(5)
    on_cpu = fk.explain(tiny(device="cpu"), images, settings=FAST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_gpu = fk.explain(tiny(device="cuda"), images, settings=FAST, cuda_graph=graph)
    assert float((on_cpu.joint - on_gpu.joint).abs().max()) < 1e-2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_cuda_step_never_synchronises():
    classifier = tiny(device="cuda")
    with classifier.session() as session:
        goal = Goal(classifier.class_names, "softmax", torch.tensor([0, 1, 2])).to(session.device)
        optimiser = Optimiser(session, fk.FidoSettings(grid=8), goal)
        slots = optimiser.fill(torch.rand(3, 3, 32, 32), torch.tensor([1, 2, 3]), goal, None)
        optimiser.step(slots)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            optimiser.step(slots)
        finally:
            torch.cuda.set_sync_debug_mode("default")
