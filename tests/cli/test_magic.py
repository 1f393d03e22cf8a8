"""`%fido`, in a shell of IPython's as a notebook's kernel has one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_cases
import torch
from report_cases import NAMES

import fidokit as fk
from fidokit.methods.base import Masks

interactiveshell = pytest.importorskip(
    "IPython.core.interactiveshell", reason="IPython is not installed: pip install 'fidokit[test]'"
)
from IPython.core.error import UsageError  # noqa: E402

from fidokit.cli import magic, options  # noqa: E402

MODEL = "python:report_cases:classifier"


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A shell with the extension, in a folder of six photographs."""
    report_cases.register()
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    report_cases.make_table(tmp_path / "photographs")
    interactiveshell.InteractiveShell.clear_instance()
    made = interactiveshell.InteractiveShell.instance()
    made.run_line_magic("load_ext", "fidokit")
    yield made
    interactiveshell.InteractiveShell.clear_instance()


def run(shell, cell):
    """The value of a cell; its error is one here."""
    ended = shell.run_cell(cell)
    ended.raise_error()
    return ended.result


def refused(shell, capsys, cell) -> str:
    """What a cell prints that fails: one line of the magic's, and no traceback."""
    capsys.readouterr()
    ended = shell.run_cell(cell)
    assert isinstance(ended.error_in_exec, UsageError)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert captured.err.startswith("UsageError: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("UsageError: ").rstrip("\n")


def same(masks: Masks, expected: Masks) -> None:
    def comparable(made: Masks) -> pd.DataFrame:
        return made.to_frame().drop(columns=["mask", "seconds"])

    pd.testing.assert_frame_equal(comparable(masks), comparable(expected))
    for kind, mask in expected.kinds.items():
        torch.testing.assert_close(masks.kinds[kind], mask)


def photographs(*numbers: int) -> fk.LabelledImages:
    return fk.LabelledImages.from_table(pd.DataFrame({"path": [f"photographs/{i}.png" for i in numbers]}))


def test_the_value_of_the_line_is_what_explain_gives(shell):
    line = f'%fido photographs/1.png photographs/4.png --model {MODEL} --method counting --against "{NAMES[0]}"'
    masks = run(shell, line)
    expected = fk.explain(report_cases.classifier(), photographs(1, 4), "counting", against=NAMES[0])
    same(masks, expected)
    run(shell, "kept = " + line)
    same(shell.user_ns["kept"], expected)


def test_settings_and_targets_are_those_of_the_command_line(shell):
    line = f"%fido photographs/1.png --model {MODEL} --settings published --set steps=2 --set samples=1 --target 2"
    expected = fk.explain(
        report_cases.classifier(),
        photographs(1),
        targets=2,
        settings=fk.FidoSettings.published(steps=2, samples=1),
    )
    same(run(shell, line), expected)


def test_what_it_shows(shell):
    masks = run(shell, f"%fido photographs/1.png --model {MODEL} --method left-half")
    shown, _ = shell.display_formatter.format(masks)
    assert shown["text/plain"] == "Masks(left-half: attribution (1, 2, 2))"
    assert shown["text/html"].count("data:image/jpeg;base64,") == 1


def test_the_model_is_a_variable(shell, capsys):
    shell.user_ns["clf"] = report_cases.classifier()
    shell.user_ns["net"] = shell.user_ns["clf"].module
    shell.user_ns["text"] = "clf"
    masks = run(shell, "%fido photographs/1.png --model clf --method left-half")
    same(masks, fk.explain(shell.user_ns["clf"], photographs(1), "left-half"))
    line = "%fido photographs/1.png --method left-half --model "
    assert "net: the variable holds a Highlights; wrap it: fidokit.Classifier(" in refused(shell, capsys, line + "net")
    assert "the variable holds a str" in refused(shell, capsys, line + "text")
    told = refused(shell, capsys, line + "nothing")
    assert told.startswith("--model nothing: there is no variable of that name")
    assert told.endswith("or a variable that holds a Classifier: clf")
    for option in ("--device cpu", "--precision float32", "--micro-batch 4"):
        assert "leave them out" in refused(shell, capsys, f"{line}clf {option}")


def test_a_name_is_never_evaluated(shell, capsys):
    shell.user_ns["touched"] = []
    told = refused(shell, capsys, "%fido photographs/1.png --model touched.append(1)")
    assert "touched.append(1)" in told
    assert shell.user_ns["touched"] == []


def test_a_classifier_is_loaded_once_and_kept(shell, monkeypatch, capsys):
    loads = []

    def counted(arguments):
        loads.append((arguments.model, arguments.device))
        return options.load_classifier(arguments)

    monkeypatch.setattr(magic, "load_classifier", counted)
    line = "%fido photographs/1.png --method left-half"
    assert refused(shell, capsys, line).startswith("--model is needed")
    run(shell, f"{line} --model {MODEL}")
    run(shell, f"{line} --model {MODEL}")
    assert loads == [(MODEL, "auto")]
    run(shell, f"{line} --model {MODEL} --device cpu")
    run(shell, line)  # the last one
    assert loads == [(MODEL, "auto"), (MODEL, "cpu")]
    shell.user_ns["clf"] = report_cases.classifier()
    run(shell, f"{line} --model clf")
    run(shell, line)
    assert len(loads) == 2
    for _ in range(2):
        run(shell, f"{line} --model {MODEL} --micro-batch 3")
    assert loads[2:] == [(MODEL, "auto")]
    run(shell, line)
    assert len(loads) == 3
    shell.run_line_magic("reload_ext", "fidokit")
    assert refused(shell, capsys, line).startswith("--model is needed")


def test_a_model_file_that_was_written_again_is_loaded_again(shell, monkeypatch, tmp_path):
    loads = []
    monkeypatch.setattr(magic, "load_classifier", lambda arguments: loads.append(1) or report_cases.classifier())
    file = tmp_path / "bird.pt2"
    line = f"%fido photographs/1.png --method left-half --model {file}"
    for content in ("one", "another one"):
        file.write_text(content)
        for _ in range(2):
            run(shell, line)
    assert len(loads) == 2


def test_patterns_variables_and_the_home_folder(shell, capsys, monkeypatch, tmp_path):
    end = f"--model {MODEL} --method left-half"
    assert len(run(shell, f"%fido photographs/[12].png photographs/4.png {end}")) == 3
    shell.user_ns["path"] = Path("photographs/5.png")
    assert run(shell, f"%fido {{path}} {end}").image_ids == ["5.png"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(run(shell, f"%fido ~/photographs/*.png {end}")) == 6
    assert "no file fits" in refused(shell, capsys, f"%fido photographs/*.jpg {end}")
    (tmp_path / "[1].png").write_bytes(Path("photographs/1.png").read_bytes())
    assert run(shell, f"%fido [1].png {end}").image_ids == ["[1].png"]


def test_a_semicolon_at_the_end_is_no_part_of_the_last_word(shell):
    assert len(run(shell, f"%fido photographs/1.png --model {MODEL} --method left-half;")) == 1
    assert magic.split("a.png --against 'b;' ;") == ["a.png", "--against", "b;"]


def test_help_ends_nothing(shell, capsys):
    assert run(shell, "%fido --help") is None
    told = capsys.readouterr().out
    assert told.startswith("usage: %fido ")
    assert "default that of the last %fido" in " ".join(told.split())
    assert run(shell, "1 + 1") == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: PHOTO; %fido --help lists the options"),
        ("photographs/1.png --methd fido", "unrecognized arguments: --methd fido"),
        ("photographs/1.png --settings best", "invalid choice: 'best'"),
        (f"photographs/1.png --model {MODEL} --method nothing", "unknown method 'nothing'"),
        (f"photographs/1.png --model {MODEL} --set steps=x", "steps takes a whole number"),
        (f"photographs/1.png --model {MODEL} --against nobody", "the classifier knows no class 'nobody'"),
        (f"gone.png --model {MODEL}", "gone.png does not exist"),
        ("photographs/1.png --against Steller's", "No closing quotation: put names with an apostrophe"),
        ("photographs/1.png --model python:nowhere:nothing", "nowhere"),
    ],
)
def test_what_is_wrong_is_one_line(shell, capsys, line, message):
    assert message in refused(shell, capsys, f"%fido {line}")


def test_what_is_wrong_is_said_before_the_classifier_is_loaded(shell, capsys, monkeypatch):
    monkeypatch.setattr(magic, "load_classifier", lambda _arguments: pytest.fail("loaded"))
    assert "unknown method" in refused(shell, capsys, f"%fido photographs/1.png --model {MODEL} --method nothing")


class Interrupted(magic._Progress):
    """Ctrl-C comes with the third look."""

    def watching(self):
        from contextlib import nullcontext

        looks = iter(range(3))

        def look(_snapshot):
            if next(looks, None) is None:
                raise KeyboardInterrupt

        return nullcontext(look)


def test_ctrl_c_keeps_what_is_there(shell, monkeypatch):
    monkeypatch.setattr(magic, "_Progress", Interrupted)
    line = f"%fido photographs/1.png --model {MODEL} --set steps=1000 --set tolerance=0 --set check_every=1"
    masks = run(shell, line)
    assert masks.finished.tolist() == [False]
    assert np.isfinite(masks.joint.numpy()).all()
    assert int(masks.evaluations[0]) < 200
    assert "the mask is what there was when it was stopped" in masks._repr_html_()


def test_ctrl_c_before_there_is_a_mask_is_one_line(shell, capsys, monkeypatch):
    def interrupted(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(magic, "load_classifier", interrupted)
    told = refused(shell, capsys, f"%fido photographs/1.png --model {MODEL}")
    assert told == "stopped before there was a mask"


def test_in_a_notebook_the_progress_is_one_output_that_ends_as_a_line(shell, capsys, monkeypatch):
    from IPython.core.displaypub import CapturingDisplayPublisher

    shell.display_pub = CapturingDisplayPublisher()
    monkeypatch.setattr(shell, "kernel", object(), raising=False)
    run(shell, f"%fido photographs/1.png --model {MODEL} --set steps=40 --set check_every=1;")
    outputs = shell.display_pub.outputs
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    assert [output["update"] for output in outputs] == [False] + [True] * (len(outputs) - 1)
    told = [output["data"]["text/plain"] for output in outputs]
    assert told[:2] == ["Loading the classifier", "Preparing the classifier"]
    assert "<progress" in outputs[2]["data"]["text/html"]
    assert " evaluations" in told[2]
    assert told[-1].startswith("Explained in ")
    shell.display_pub.outputs.clear()
    refused(shell, capsys, f"%fido photographs/1.png --model {MODEL} --against nobody")
    assert shell.display_pub.outputs[-1]["data"]["text/plain"] == ""


def test_completion(shell):
    shell.user_ns["clf"] = report_cases.classifier()

    def completed(line):
        return shell.complete("", line, len(line))[1]

    assert completed("%fido a.png --method gra") == ["grad-cam"]
    assert completed("masks = %fido a.png --method lay") == ["layer-cam"]
    assert completed("%fido a.png --settings q") == ["quality"]
    assert completed("%fido a.png --model c") == ["clf"]
    assert completed("%fido a.png --ag") == ["--against"]
    assert completed("%fido photographs/1") == ["photographs/1.png"]


def test_unloaded_it_is_gone(shell, capsys):
    shell.run_line_magic("unload_ext", "fidokit")
    assert "not found" in refused(shell, capsys, "%fido --help")
