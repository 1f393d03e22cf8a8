"""Batches that do not fit, and images that spoil theirs: what is left of the others."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from nets import conv_net, photographs
from study_cases import make_classifier, make_data, paint
from torch import nn

import fidokit as fk
from fidokit.enhance.guided import MaskGuidedClassifier
from fidokit.exceptions import ImageError, SettingsError
from fidokit.models.classifier import Classifier
from fidokit.models.isolation import GpuLost, logits_or_reasons, together_or_alone


class Small(nn.Module):
    """Does not fit into memory with more than so many images at once."""

    def __init__(self, most):
        super().__init__()
        self.net, self.most, self.sizes = conv_net(3), most, []

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"{len(x)} images")
        self.sizes.append(len(x))
        return self.net(x)


def make(most=100, micro_batch=8):
    names = ["red", "green", "blue"]
    return Classifier(
        Small(most), names, size=(16, 16), device="cpu", precision="float32", micro_batch=micro_batch
    )  # fmt: skip


@pytest.mark.parametrize(("most", "n"), [(2, 5), (3, 8), (3, 19), (5, 8), (7, 25)])
@pytest.mark.filterwarnings("ignore:out of memory")
def test_predict_goes_on_after_running_out_of_memory(tmp_path, most, n):
    data = make_data(tmp_path, n)
    done = []
    classifier = make(most)
    table = classifier.predict(data, on_image=done.append)
    pd.testing.assert_frame_equal(table, make().predict(data), check_exact=False, rtol=1e-4)
    assert sum(done) == n
    assert classifier.micro_batch <= most


@pytest.mark.filterwarnings("ignore:out of memory")
def test_unreadable_photographs_keep_their_rows_after_running_out_of_memory(tmp_path):
    data = make_data(tmp_path, 9)
    for i in (0, 4, 8):
        data.open(i).close()
        (tmp_path / data.table["path"].iloc[i]).write_bytes(b"no image")
    table = make(3).predict(data)
    assert table["image_id"].tolist() == data.table["image_id"].tolist()
    assert table["predicted"].isna().tolist() == [i in (0, 4, 8) for i in range(9)]
    assert table["reason"].notna().tolist() == [i in (0, 4, 8) for i in range(9)]


@pytest.mark.filterwarnings("ignore:out of memory")
@pytest.mark.parametrize(
    "method", ["fido", "grad-cam", "integrated-gradients", "rise", "extremal-perturbation", "occlusion"]
)
def test_explain_goes_on_after_running_out_of_memory(method):
    images = photographs(5, (16, 16))
    options = {"steps": 3} if method in ("fido", "extremal-perturbation") else {}
    made, wanted = (fk.explain(make(most), images, method, **options) for most in (3, 100))
    assert not made.failures
    for kind in wanted.kinds:
        assert (made[kind] - wanted[kind]).abs().mean() < 1e-3


@pytest.mark.filterwarnings("ignore:out of memory")
def test_the_guided_classifier_and_studies_go_on_after_running_out_of_memory(tmp_path):
    data = make_data(tmp_path / "data", 7)
    settings = {"gate": 1.0, "method": "grad-cam"}
    look, wanted = (MaskGuidedClassifier(make(most), **settings).look(data) for most in (3, 100))
    assert not look.unanswered | look.failures
    torch.testing.assert_close(look.logits, wanted.logits, rtol=0, atol=1e-3)
    study = fk.run_study(make(3), data, "grad-cam", store=tmp_path / "s", progress=False)
    assert not len(study.failures())
    assert len(study.metrics(progress=False)) == 7


# One bad image costs only itself


def test_all_rows_together_where_nothing_is_wrong():
    calls = []

    def run(rows):
        calls.append(rows)
        return list(range(rows.start, rows.stop))

    assert list(together_or_alone(run, 3)) == [(slice(0, 3), [0, 1, 2])]
    assert calls == [slice(0, 3)]
    assert list(together_or_alone(run, 0)) == []


def test_row_by_row_where_one_is_bad():
    def run(rows):
        if rows.start <= 1 < rows.stop:
            raise ValueError("bad")
        return rows.start

    assert list(together_or_alone(run, 3)) == [(slice(0, 1), 0), (slice(1, 2), "ValueError: bad"), (slice(2, 3), 2)]


def test_a_single_row_is_not_tried_twice():
    calls = []

    def run(rows):
        calls.append(rows)
        raise ImageError("not an image")

    assert list(together_or_alone(run, 1)) == [(slice(0, 1), "not an image")]
    assert calls == [slice(0, 1)]


@pytest.mark.parametrize(
    ("error", "raised"), [(SettingsError("wrong"), SettingsError), (RuntimeError("CUDA error: gone"), GpuLost)]
)
def test_what_would_hit_every_image_is_raised(error, raised):
    def run(_rows):
        raise error

    with pytest.raises(raised):
        list(together_or_alone(run, 3))


def test_logits_of_groups():
    classifier = make_classifier()
    black, grey = torch.zeros(1, 3, 16, 16), torch.full((2, 3, 16, 16), 0.5)
    with classifier.session() as session:
        one, two = logits_or_reasons(session, [grey, grey[:1]])
        assert (one.shape, two.shape) == ((2, 3), (1, 3))
        one, bad, two = logits_or_reasons(session, [grey, black, grey[:1]])
    assert (one.shape, bad, two.shape) == ((2, 3), "RuntimeError: a black image", (1, 3))


def test_a_bad_image_costs_only_itself_in_a_study_and_in_a_second_look(tmp_path):
    data = make_data(tmp_path / "data", 6)
    paint(data, 2, 0)
    study = fk.run_study(make_classifier(), data, "grad-cam", store=tmp_path / "s", progress=False)
    assert study.failures()["reason"].tolist() == ["RuntimeError: a black image"]
    assert study.status()["finished"].tolist() == [5]
    look = MaskGuidedClassifier(make_classifier(), gate=1.0, method="grad-cam").look(data)
    assert look.unanswered == {2: "RuntimeError: a black image"}
