"""Explaining in a thread: what is told, how often, and how it is stopped; against `explain` itself."""

import threading
import time

import pytest
import torch
from nets import conv_net
from study_cases import make_classifier, paint

import fidokit as fk
from fidokit.exceptions import ImageError
from fidokit.methods import register_method
from fidokit.methods.base import Computed, Method, NoSettings, Snapshot
from fidokit.models.classifier import Classifier
from fidokit.widgets.running import ExplainJob, ExplainRequest, Listener, Throttle, watchable

SETTINGS = fk.FidoSettings(grid=4, steps=12, tolerance=0.0)


class Notes(Listener):
    """Notes all that is told."""

    def __init__(self, act=None):
        self.told, self.result, self.error, self.act = [], None, None, act

    def preparing(self):
        self.told.append("preparing")

    def predicted(self, prediction, likely):
        self.told.append(("predicted", prediction["predicted"]))

    def baseline(self, name, result, reason):
        self.told.append((name, None if result is None else len(result), reason))

    def progress(self, progress):
        self.told.append(progress)
        if self.act is not None:
            self.act(progress)

    def ended(self, result, error):
        self.result, self.error = result, error
        self.told.append("ended")


@pytest.fixture
def every_step(monkeypatch):
    """Nothing is held back."""
    monkeypatch.setattr("fidokit.widgets.running.Throttle", lambda: lambda act: act() is None)


def run(classifier, order, listener=None, seconds=30):
    listener = Notes() if listener is None else listener
    running = ExplainJob(classifier, order, listener)
    running.start()
    assert running.wait(seconds)
    return listener


def test_the_same_masks_as_explain_and_all_of_it_told(quick, every_step, classifier, data):
    one = data.subset([4])
    notes = run(classifier, ExplainRequest(one, "fido", SETTINGS, None, "blue", ("grad-cam", "integrated-gradients")))
    assert notes.error is None
    wanted = fk.explain(classifier, one, settings=SETTINGS, against="blue")
    torch.testing.assert_close(notes.result.joint, wanted.joint)
    assert notes.result.settings_id == wanted.settings_id
    assert notes.result.image_ids == wanted.image_ids
    assert notes.result.evaluations.tolist() == wanted.evaluations.tolist()
    order = [entry if isinstance(entry, str) else entry[0] for entry in notes.told if not hasattr(entry, "masks")]
    assert order == ["preparing", "predicted", "grad-cam", "integrated-gradients", "ended"]
    steps = [entry for entry in notes.told if hasattr(entry, "masks")]
    assert len(steps) == 12
    assert [step.evaluations for step in steps[:3]] == [29, 31, 33]
    assert all(
        set(step.masks) == {"ssr", "sdr", "joint", "effect"} and step.masks["ssr"].shape == (4, 4) for step in steps
    )
    assert all(0 <= step.kept <= 1 and 0 <= step.dropped <= 1 and step.loss is not None for step in steps)
    assert steps[-1].left <= steps[0].left * 2
    assert steps[5].rate == pytest.approx(steps[5].evaluations / steps[5].seconds)


def test_a_stop_keeps_the_mask_so_far(quick, every_step, classifier, data):
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == 3:
            running.stop()

    notes = Notes(stop)
    running = ExplainJob(
        classifier, ExplainRequest(data.subset([0]), "fido", fk.FidoSettings(grid=4, steps=10_000)), notes
    )
    running.start()
    assert running.wait(30)
    assert len(seen) == 3
    assert not notes.result.finished.any()
    torch.testing.assert_close(notes.result.ssr[0], torch.from_numpy(seen[-1].masks["ssr"]))


def test_a_stop_before_there_is_a_mask(quick, classifier, data):
    running = ExplainJob(classifier, ExplainRequest(data.subset([0]), "fido", SETTINGS), notes := Notes())
    running.stop()
    running.start()
    assert running.wait(30)
    assert (notes.result, notes.error) == (None, None)


def test_the_classifier_is_free_for_cells_meanwhile(quick, every_step, data):
    classifier = make_classifier()
    one = data.subset([1])
    alone = fk.explain(classifier, one, "integrated-gradients")
    started, errors = threading.Event(), []
    running = ExplainJob(
        classifier,
        ExplainRequest(one, "fido", fk.FidoSettings(grid=4, steps=10_000)),
        Notes(lambda _progress: started.set()),
    )
    running.start()
    assert started.wait(30)
    try:
        for _ in range(10):
            beside = fk.explain(classifier, one, "integrated-gradients")
            torch.testing.assert_close(beside.attribution, alone.attribution)
            # Evaluations are counted by differences: those of the thread must not be among them.
            assert beside.evaluations.tolist() == alone.evaluations.tolist()
    except Exception as error:
        errors.append(error)
    finally:
        running.stop()
    assert running.wait(30)
    assert errors == []
    assert not classifier._open


def test_what_is_found_out_is_kept(quick, data):
    classifier = Classifier(conv_net(), size=(16, 16), device="cpu")
    assert (classifier.micro_batch, classifier.precision) == (None, "auto")
    notes = run(classifier, ExplainRequest(data.subset([0]), "fido", SETTINGS))
    assert notes.error is None
    assert classifier.micro_batch is not None
    assert classifier.precision != "auto"
    assert classifier.precision_reason != "not probed yet"
    assert classifier.counter.evaluations == 0


def test_baselines_that_do_not_apply_are_left_out_with_a_reason(quick, data):
    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3 * 16 * 16, 3)

        def forward(self, x):
            return self.layer(x.flatten(1))

    classifier = Classifier(Flat(), ["a", "b", "c"], size=(16, 16), device="cpu", precision="float32", micro_batch=4)
    notes = run(
        classifier, ExplainRequest(data.subset([0]), "fido", SETTINGS, baselines=("grad-cam", "integrated-gradients"))
    )
    assert notes.error is None
    (_, cam, reason), (_, gradients, none) = [
        entry for entry in notes.told if isinstance(entry, tuple) and len(entry) == 3
    ]
    assert cam is None
    assert "layer" in reason
    assert (gradients, none) == (1, None)
    assert notes.result is not None


def test_errors_are_told(quick, classifier, data):
    paint(data, 0, 255)
    assert isinstance(run(classifier, ExplainRequest(data.subset([0]), "fido", SETTINGS)).error, ImageError)
    one = data.subset([1])
    open(one.table["path"].iloc[0], "w").close()  # noqa: PTH123
    notes = run(classifier, ExplainRequest(one, "fido", SETTINGS))
    assert isinstance(notes.error, ImageError)
    assert notes.result is None

    def broken(*_arguments):
        raise ZeroDivisionError("nothing there")

    register_method("broken", Method(broken, NoSettings, ("attribution",)))
    assert isinstance(
        run(classifier, ExplainRequest(data.subset([2]), "broken", NoSettings())).error, ZeroDivisionError
    )


def test_methods_that_know_no_scores(quick, classifier, data):
    def looking(_classifier, batch, _settings, on_progress):
        mask = torch.ones(len(batch), 2, 2)
        nothing = torch.full((1,), torch.nan)
        on_progress(Snapshot(list(batch.image_ids), {"attribution": mask}, nothing, nothing, 1, 2, 0))
        return Computed({"attribution": mask})

    register_method("looking", Method(looking, NoSettings, ("attribution",)))
    notes = run(classifier, ExplainRequest(data.subset([0]), "looking", NoSettings()))
    [progress] = [entry for entry in notes.told if hasattr(entry, "masks")]
    assert (progress.kept, progress.dropped, progress.loss) == (None, None, None)
    assert notes.result.attribution.shape == (1, 2, 2)


def test_looks_at_every_step_only_on_the_processor(classifier):
    assert watchable(SETTINGS, classifier).check_every == 1
    assert watchable(NoSettings(), classifier) == NoSettings()

    class OnGpu:
        device = torch.device("cuda")

    assert watchable(SETTINGS, OnGpu()) is SETTINGS


def test_the_last_step_is_told_however_quick_it_came(quick, classifier, data):
    notes = run(classifier, ExplainRequest(data.subset([0]), "fido", SETTINGS))
    steps = [entry for entry in notes.told if hasattr(entry, "masks")]
    assert len(steps) < 11
    assert steps[-1].evaluations == 1 + 26 + 12 * 2


class TestThrottle:
    """With a clock of its own: an act takes what it is set to take."""

    def count(self, cost, every, seconds, most=10.0, share=0.1):
        now, done, spent = 0.0, 0, 0.0

        def act():
            nonlocal now, spent
            now += cost
            spent += cost

        throttle = Throttle(most, share, clock=lambda: now)
        while now < seconds:
            done += throttle(act)
            now += every
        return done / now, spent / now

    def test_at_most_so_often(self):
        rate, _ = self.count(cost=0.0001, every=0.001, seconds=20)
        assert rate == pytest.approx(10, rel=0.05)

    @pytest.mark.parametrize("cost", [0.02, 0.1, 0.5])
    def test_at_most_a_share_of_the_time(self, cost):
        _, share = self.count(cost, every=0.001, seconds=40)
        assert share <= 0.105

    def test_slow_steps_are_all_told(self):
        rate, _ = self.count(cost=0.001, every=0.16, seconds=20)
        assert rate == pytest.approx(1 / 0.161, rel=0.05)

    def test_time_goes_by_for_real(self):
        throttle, times = Throttle(most=50), []
        start = time.perf_counter()
        while time.perf_counter() - start < 0.3:
            throttle(lambda: times.append(time.perf_counter()))
        assert 5 <= len(times) <= 16
