"""What every method promises: stops, Ctrl-C, too little memory, NaN and other images cost nobody his mask."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import conv_net, photographs, vision_transformer
from torch import nn

import fidokit as fk
from fidokit.methods import compute_masks, get_method
from fidokit.methods.base import Batch

pytestmark = [pytest.mark.parametrize("name", fk.list_methods()), pytest.mark.usefixtures("quick")]

N = 5
IDS = [f"image {i}" for i in range(N)]
#: Settings that cost little; a method that is not named runs with its defaults.
CHEAP = {
    "expected-gradients": {"samples": 6},
    "extremal-perturbation": {"areas": (0.1, 0.3), "steps": 12, "lattice": 8, "levels": 3},
    "fido": {"grid": 8, "steps": 6, "check_every": 2},
    "igos++": {"grid": 8, "iterations": 3, "steps": 3, "area_weight": 0.1},
    "integrated-gradients": {"n_steps": 7},
    "kernel-shap": {"regions": 9, "samples": 40},
    "lima": {"regions": 9, "pending": 3},
    "occlusion": {"window": 0.3, "stride": 0.2},
    "rise": {"samples": 24, "grid": 4},
    "smdl": {"regions": 9},
    "smoothgrad": {"samples": 5},
}
#: Methods of transformers.
OF_ATTENTION = ("legrad", "attention-rollout")


def net_for(name):
    return vision_transformer() if name in OF_ATTENTION else conv_net()


def classifier(module, micro_batch=8):
    return fk.Classifier(module, size=(32, 32), device="cpu", precision="float32", micro_batch=micro_batch)


def batch_of(name, images=None):
    """All images, each with a target of its own, and logits of a net that nothing happens to."""
    images = photographs(N) if images is None else images
    clf = classifier(net_for(name))
    logits = clf.logits(images)
    return Batch(images, IDS, clf.goal(logits, [i % 4 for i in range(N)]), logits)


def rows_of(batch, rows):
    return Batch(batch.images[rows], [batch.image_ids[i] for i in rows], batch.goal[rows], batch.logits[rows])


def masks_of(name, clf, batch, on_progress=None):
    method = get_method(name)
    settings = method.resolve(None, CHEAP.get(name))
    return compute_masks(name, clf, batch, settings, on_progress)


def check_same(masks, whole, image_ids):
    """The masks of some images are those of the batch that nothing happened to."""
    for image_id in image_ids:
        for kind, mask in masks.kinds.items():
            mine, theirs = mask[masks.image_ids.index(image_id)], whole[kind][whole.image_ids.index(image_id)]
            assert (mine - theirs).abs().max() <= 1e-3, (image_id, kind)


class Net(nn.Module):
    """A net with something that happens before each pass and says which images become NaN in it."""

    def __init__(self, net, before, *, within=True):
        super().__init__()
        self.net, self.before, self.within = net, before, within
        self.eval()

    def forward(self, x):
        bad = self.before(x)
        if self.within:
            return self.net(torch.where(bad, torch.nan, 1.0) * x)
        return torch.where(bad.flatten(1), torch.nan, self.net(x))  # which stops the gradient

    def __deepcopy__(self, memo):
        return Net(copy.deepcopy(self.net, memo), self.before, within=self.within)


NOTHING = torch.zeros(1, 1, 1, 1, dtype=torch.bool)


def test_a_request_to_stop_keeps_what_is_finished(name):
    batch = batch_of(name)
    whole = masks_of(name, classifier(net_for(name)), batch)
    assert whole.image_ids == IDS
    assert whole.finished.all()
    seen = []

    def stop(snapshot):
        seen.append(snapshot)
        return snapshot.finished > 0

    stopped = masks_of(name, classifier(net_for(name), micro_batch=4), batch, stop)
    assert [snapshot.finished > 0 for snapshot in seen] == [False] * (len(seen) - 1) + [True]
    assert all(set(snapshot.image_ids) <= set(IDS) for snapshot in seen)
    finished = [image_id for image_id, done in zip(stopped.image_ids, stopped.finished, strict=True) if done]
    assert 0 < len(finished) < N
    assert seen[-1].finished == len(finished)
    assert not stopped.failures
    check_same(stopped, whole, finished)


@pytest.mark.parametrize("at_once", [False, True])
def test_ctrl_c_keeps_what_is_finished(name, at_once):
    batch = batch_of(name)
    whole = masks_of(name, classifier(net_for(name)), batch)
    pressed = []

    def press(_x):
        if pressed == ["soon"]:
            pressed.append("now")
            raise KeyboardInterrupt
        return NOTHING

    def watch(snapshot):
        if snapshot.finished and not pressed:
            pressed.append("soon")

    clf = classifier(Net(net_for(name), press), micro_batch=4)
    with clf.session(), clf.session(exact=True):
        pressed[:] = ["soon"] * at_once
        masks = masks_of(name, clf, batch, watch)
    assert pressed == ["soon", "now"]
    finished = [image_id for image_id, done in zip(masks.image_ids, masks.finished, strict=True) if done]
    assert len(finished) < N
    assert bool(finished) is not at_once
    assert not masks.failures
    check_same(masks, whole, finished)


def test_out_of_memory_halves_the_micro_batch_and_gives_the_same_masks(name):
    def cramped(x):
        if len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return NOTHING

    batch = batch_of(name)
    clf = classifier(Net(net_for(name), cramped))
    with pytest.warns(RuntimeWarning, match="micro-batch of 4"):
        masks = masks_of(name, clf, batch)
    assert masks.image_ids == IDS
    check_same(masks, masks_of(name, classifier(net_for(name)), batch), IDS)


@pytest.mark.parametrize("where", ["prediction", "activations", "logits"])
def test_nan_costs_only_its_image(name, where):
    def bright(x):
        # The places of tokens are found by images with much noise, which are no white ones.
        white = x.mean if name in OF_ATTENTION else x.amax
        return white(dim=(1, 2, 3), keepdim=True) > 2

    images = photographs(N) * 0.5
    images[1] = 1
    batch = batch_of(name, images)
    whole = masks_of(name, classifier(net_for(name)), batch)
    clf = classifier(Net(net_for(name), bright, within=where == "activations"))
    if where == "prediction":
        batch.logits[:] = clf.logits(images)
    masks = masks_of(name, clf, batch)
    assert masks.image_ids == [IDS[0], *IDS[2:]]
    assert list(masks.failures) == [IDS[1]]
    assert "NaN" in masks.failures[IDS[1]]
    check_same(masks, whole, masks.image_ids)


def test_a_mask_depends_on_its_image_alone(name):
    batch = batch_of(name)
    order = [3, 0, 4, 1, 2]
    whole = masks_of(name, classifier(net_for(name)), batch)
    for micro_batch in (1, 7, 64):
        turned = masks_of(name, classifier(net_for(name), micro_batch=micro_batch), rows_of(batch, order))
        assert turned.image_ids == [IDS[i] for i in order]
        check_same(turned, whole, IDS)
        for i in (0, 3):
            check_same(
                masks_of(name, classifier(net_for(name), micro_batch=micro_batch), rows_of(batch, [i])), whole, [IDS[i]]
            )
    # A mask that does not depend on its image would pass all of this.
    kind = next(iter(whole.kinds))
    assert all((whole[kind][0] - whole[kind][i]).abs().max() > 0.01 for i in range(1, N))
