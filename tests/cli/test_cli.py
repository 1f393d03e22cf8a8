import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import report_cases
import study_cases
from cli_cases import run, working_folder
from PIL import Image
from report_cases import HARM, NAMES

import fidokit
from fidokit import cli
from fidokit._util.numbers import number
from fidokit.cli.text import cut, described, described_fields, parse_fields, parse_value, plain, table
from fidokit.exceptions import SettingsError
from fidokit.methods import _REGISTRY
from fidokit.methods.base import Method
from fidokit.methods.fido_settings import FidoSettings

MODEL = "python:report_cases:classifier"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    return working_folder(tmp_path, monkeypatch)


# the parser


def test_help_is_fast_since_torch_is_not_imported():
    program = (
        "import sys; from fidokit.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'pandas', 'numpy', 'plotly', 'PIL', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    home = Path(fidokit.__file__).parents[1]
    for arguments in (["--help"], ["study", "--help"], ["--version"]):
        ended = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=home
        )
        assert ended.returncode == 0, ended.stderr


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fidokit {fidokit.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["explain"], ["explain", "a.png"], ["study", "--model", "x"], ["fly"]])
def test_incomplete_commands(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: fidokit" in capsys.readouterr().err


# values


@dataclass(frozen=True)
class Example:
    whole: int = 1
    share: float = 0.5
    name: str = "a"
    flag: bool = False
    way: Literal["up", "down"] = "up"
    maybe: int | None = None
    size: tuple[int, int] = (2, 2)
    sizes: tuple[int, ...] = (1,)
    grid: int | tuple[int, int] | None = 16
    mixture: str | tuple[str | tuple[str, float], ...] = "blur"
    made: list[int] = field(default_factory=list)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("whole=-7", -7),
        ("share=1e-3", 0.001),
        ("share=2", 2.0),
        ("name=__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("name=a=b", "a=b"),
        ("name=", ""),
        ("flag=true", True),
        ("flag=No", False),
        ("way=down", "down"),
        ("maybe=none", None),
        ("maybe=3", 3),
        ("size=3,4", (3, 4)),
        ("size=3x4", (3, 4)),
        ("size=(3, 4)", (3, 4)),
        ("sizes=5", (5,)),
        ("sizes=5,6,7", (5, 6, 7)),
        ("grid=20", 20),
        ("grid=20x30", (20, 30)),
        ("grid=none", None),
        ("mixture=blur", "blur"),
        ("mixture=blur,noise", ("blur", "noise")),
        ("mixture=blur,shuffle:2", ("blur", ("shuffle", 2.0))),
    ],
)
def test_values_are_parsed_by_the_type_of_their_field(assignment, value):
    name = assignment.partition("=")[0]
    parsed = parse_fields(Example, [assignment])[name]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("whole=1.5", "whole takes a whole number"),
        ("whole=1+1", "whole takes a whole number"),
        ("share=inf", "share takes a number"),
        ("flag=maybe", "flag takes true or false"),
        ("way=left", "way takes up or down"),
        ("size=1,2,3", "size takes 2 values separated by commas"),
        ("size=a,b", "size takes 2 values separated by commas"),
        ("grid=wide", "grid takes a whole number, 2 values separated by commas or none"),
        ("made=1", "made takes a value that cannot be given here"),
        ("whole", "write it as FIELD=VALUE"),
        ("height=1", "no setting 'height' of this method; its settings are whole, share"),
    ],
)
def test_values_of_another_type_are_refused(assignment, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        parse_fields(Example, [assignment])


def test_a_field_is_given_once():
    with pytest.raises(SettingsError, match="given twice"):
        parse_fields(Example, ["whole=1", "whole=2"])


def test_hyphens_are_underscores():
    assert parse_fields(FidoSettings, ["infill-draws=3"]) == {"infill_draws": 3}


def test_every_fido_default_can_be_typed_as_it_is_listed():
    for line in described_fields(FidoSettings):
        assignment = line.partition("  ")[0]
        name = assignment.partition("=")[0]
        assert parse_fields(FidoSettings, [assignment]) == {name: getattr(FidoSettings(), name)}


def test_functions_are_not_offered():
    assert described(str | tuple[str, ...] | Callable[[int], int]) == "a text or several separated by commas"
    with pytest.raises(ValueError, match="sorted"):
        parse_value(type(len), "sorted")


# text


def test_names_cannot_steer_the_terminal():
    assert plain("a\x1b[2Jb\rc\nd\u202e") == "a\ufffd[2Jb\ufffdc\nd\ufffd"


def test_table_aligns():
    assert table([{"name": "a", "n": "5"}, {"name": "x" * 60, "n": "1000"}]).splitlines() == [
        "name" + " " * 40 + "     n",
        "a" + " " * 43 + "     5",
        cut("x" * 60) + "  1000",
    ]
    assert table([]) == ""
    assert cut("x" * 60) == "x" * 43 + "…"


# errors


def test_errors_are_one_line_and_exit_2(capsys):
    code, out, err = run(capsys, "report", "nowhere")
    assert code == 2
    assert out == ""
    assert err.startswith("fidokit: there is no study in nowhere")
    assert "Traceback" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "photographs/1.png", "--model", "resnet"], "'resnet' names no model; the forms are timm:NAME"),
        (["explain", "photographs/1.png", "--model", MODEL, "--method", "magic"], "unknown method 'magic'"),
        (["explain", "photographs/1.png", "--model", MODEL, "--target", "dodo"], "knows no class 'dodo'"),
        (["explain", "photographs/1.png", "--model", MODEL, "--target", "7"], "class index 7 is out of range"),
        (
            ["explain", "nothere.png", "--model", MODEL, "--method", "counting"],
            "there is no image to explain; nothere.png",
        ),
        (["explain", "a", "--model", MODEL, "--method", "counting", "--settings", "quality"], "no settings 'quality'"),
        (["explain", "a", "--model", MODEL, "--table", "t.xls"], "must end in .parquet or .csv"),
        (["explain", "a", "b", "--model", MODEL, "--out", "x.png"], "one file for 2 photographs"),
        (["explain", "a", "--model", MODEL, "--out", "birds.csv"], "birds.csv is a file"),
        (["explain", "a.png", "--model", MODEL, "--out", "a.png"], "would write over the photograph"),
        (["study", "nothere", "--model", MODEL], "there is no dataset nothere"),
        (["study", "birds.csv", "--model", MODEL, "--methods", ","], "--methods is empty"),
        (
            ["study", "birds.csv", "--model", MODEL, "--methods", "counting", "--settings", "quality"],
            "none of counting",
        ),
        (
            ["study", "birds.csv", "--model", MODEL, "--limit", "0"],
            "--limit is 0; it must be a whole",
        ),
        (["study", "birds.csv", "--model", MODEL, "--boxes"], "has no boxes"),
        (["study", "birds.csv", "--model", "python:study_cases:make_data"], "could not be loaded"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, capsys, place):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert sorted(path.name for path in place.iterdir()) == ["birds.csv", "photographs"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--micro-batch", "0"], "--micro-batch is 0; it must be a whole number of at least 1"),
        (["--micro-batch", "-2"], "--micro-batch is -2; it must be a whole number of at least 1"),
        (["--precision", "half"], "unknown precision 'half'"),
        (["--device", "meta"], "cannot compute on device 'meta'"),
        (["--device", "cuda:99"], "device 'cuda:99' was asked for"),
    ],
)
def test_how_it_computes_is_checked(capsys, options, message):
    code, _, err = run(capsys, "study", "birds.csv", "--model", MODEL, *options)
    assert code == 2
    assert message in err


def test_options_that_a_model_does_not_take_are_not_passed_over_in_silence(capsys, monkeypatch):
    made = report_cases.classifier()
    monkeypatch.setattr(report_cases, "rigid", lambda: made, raising=False)
    arguments = ["study", "birds.csv", "--model", "python:report_cases:rigid"]
    code, _, err = run(capsys, *arguments, "--precision", "bfloat16")
    assert code == 2
    assert "with precision=float32, not bfloat16" in err
    table = pd.read_csv("birds.csv").assign(x0=1, y0=1, x1=20, y1=20)
    table.to_csv("boxes.csv", index=False)
    code, _, err = run(capsys, "study", "boxes.csv", "--model", "python:report_cases:rigid", "--boxes")
    assert code == 2
    assert "use_boxes=False, not True" in err


def test_a_warning_is_one_line(capsys):
    pd.read_csv("birds.csv").assign(label="dodo").to_csv("dodos.csv", index=False)
    code, _, err = run(capsys, "study", "dodos.csv", "--model", MODEL, "--methods", "counting")
    assert code == 0
    assert "fidokit: the classifier does not know 1 of 1 labels" in err
    assert "RuntimeWarning" not in err


# explain


def test_explain_writes_a_picture_and_says_the_scores(capsys, place):
    code, out, err = run(
        capsys,
        "explain",
        "photographs/0.png",
        "photographs/3.png",
        "--model",
        MODEL,
        "--method",
        "counting",
        "--out",
        "o",
    )
    assert code == 0
    assert "33 % of this photograph is not seen by the classifier" in err
    assert sorted(path.name for path in (place / "o").iterdir()) == ["0.counting.png", "3.counting.png"]
    lines = out.splitlines()
    assert lines[0].split() == [
        "photograph",
        "explained",
        "kind",
        "whole",
        "kept",
        "dropped",
        "evaluations",
        "verdict",
    ]
    # What the verdicts mean, and where the pictures are.
    assert len(lines) == 1 + 2 * 2 + 1 + 2
    masks = fidokit.explain(
        report_cases.classifier(),
        fidokit.LabelledImages.from_table(pd.DataFrame({"path": ["photographs/0.png"]})),
        "counting",
    )
    for line, kind in zip(lines[1:3], ("ssr", "sdr"), strict=True):
        scores = (masks.score_full[0], masks.score_kept[kind][0], masks.score_dropped[kind][0])
        *_, verdict = line.split("  ")
        assert verdict in ("enough and needed", "enough only", "needed only", "explains little")
        figures = line.removesuffix(verdict).split()
        assert figures[-5:-1] == [kind, *(number(float(score)) for score in scores)]
    with Image.open(place / "o" / "0.counting.png") as picture:
        assert picture.size == (12 + 3 * (540 + 12), 360 + 54 + 24)
        panels = np.asarray(picture)[42:402]
    bare, kept = (panels[:, left : left + 540].astype(int) for left in (12, 564))
    # 48 x 32 pixels, cropped to the middle square: the sides are darkened and hatched, not drawn on.
    assert np.median(np.abs(kept[:, :85] - bare[:, :85] * 0.45)) <= 1
    assert np.abs(kept[:, 100:440] - bare[:, 100:440]).mean() > 20


def test_explain_writes_svg(capsys, place):
    arguments = ["explain", "photographs/0.png", "--model", MODEL, "--method", "counting", "--out"]
    assert run(capsys, *arguments, "v", "--svg")[0] == 0
    assert run(capsys, *arguments, "one.svg")[0] == 0
    for path in (place / "v" / "0.counting.svg", place / "one.svg"):
        assert path.read_text(encoding="utf-8").startswith("<svg")


def test_explain_sets_fields_targets_and_contrasts(capsys):
    code, out, _ = run(
        capsys,
        *("explain", "photographs/1.png", "--model", MODEL, "--method", "counting", "--set", "cells=2"),
        *("--target", "2", "--against", HARM, "--table", "deep/table.parquet"),
    )
    assert code == 0
    frame = pd.read_parquet("deep/table.parquet")
    assert frame["target"].tolist() == [NAMES[2]] * 2
    assert frame["against"].tolist() == [HARM] * 2
    assert frame[["height", "width"]].to_numpy().tolist() == [[2, 2]] * 2
    assert all(len(mask) == 4 and mask.dtype == np.float16 for mask in frame["mask"])
    assert cut(f"{NAMES[2]} rather than {HARM}") in out


def test_explain_with_a_named_set_of_settings(capsys):
    arguments = ["explain", "photographs/1.png", "--model", MODEL, "--settings", "published", "--table", "t.csv"]
    code, _, _ = run(capsys, *arguments, "--set", "steps=2", "--set", "samples=1")
    assert code == 0
    frame = pd.read_csv("t.csv")
    assert "mask" not in frame.columns
    # Published: at full resolution, from a flat start.
    assert frame["height"].tolist() == [16] * 3
    assert frame["kind"].tolist() == ["ssr", "sdr", "joint"]


def test_explain_goes_on_after_a_photograph_that_cannot_be_read(capsys, place):
    (place / "torn.png").write_bytes(b"\x89PNG")
    code, out, err = run(
        capsys, "explain", "torn.png", "photographs/1.png", "--model", MODEL, "--method", "counting", "--out", "x.out"
    )
    assert code == 1
    assert "torn.png" in err
    assert [path.name for path in (place / "x.out").iterdir()] == ["1.counting.png"]
    assert "Picture: x.out/1.counting.png" in out


def test_explain_keeps_pictures_of_equal_names_apart(capsys, place):
    (place / "b").mkdir()
    Image.open(place / "photographs" / "1.png").save(place / "b" / "1.png")
    code, _, _ = run(
        capsys, "explain", "photographs/1.png", "b/1.png", "--model", MODEL, "--method", "left-half", "--out", "o"
    )
    assert code == 0
    assert sorted(path.name for path in (place / "o").iterdir()) == ["1.left-half.2.png", "1.left-half.png"]


def test_explain_writes_into_one_file(capsys, place):
    code, _, _ = run(
        capsys, "explain", "photographs/1.png", "--model", MODEL, "--method", "left-half", "--out", "new/one.png"
    )
    assert code == 0
    assert (place / "new" / "one.png").is_file()


def test_explain_says_if_a_file_cannot_be_written(capsys, place):
    (place / "file").write_text("")
    code, _, err = run(
        capsys, "explain", "photographs/1.png", "--model", MODEL, "--method", "left-half", "--out", "file/x.png"
    )
    assert code == 2
    assert "file/x.png cannot be written" in err


# study and report


def test_study_writes_the_store_and_the_page(capsys, place):
    code, out, err = run(
        capsys, "study", "birds.csv", "--model", MODEL, "--methods", "counting, fails-once", "--targets", "label"
    )
    assert code == 0
    assert (place / "runs" / "birds" / "study.json").is_file()
    page = (place / "runs" / "birds" / "report.html").read_text(encoding="utf-8")
    assert page.count("<article") == 6
    assert out.startswith("6 photographs: 4 right, 1 wrong, 1 not judged\n")
    study = fidokit.open_study("runs/birds")
    row = study.summary().iloc[0]
    assert f"{row['insertion']:.2f} [{row['insertion_low']:.2f}, {row['insertion_high']:.2f}]" in out
    assert "Which masks can be believed:" in out
    assert "1 failure (fails-once, mask): no mask of this one, because 1 < 2 & 2 > 1" in out
    assert re.search(r"1 failure \(all methods, target\): .*no label to explain", out)
    assert "Study: runs/birds\nPage: runs/birds/report.html" in out
    assert "could not be computed" in err


def test_study_goes_on_with_more_methods(capsys):
    arguments = ["study", "birds.csv", "--model", MODEL, "--store", "s", "--report", "pages/p.html"]
    assert run(capsys, *arguments, "--methods", "counting")[0] == 0
    assert run(capsys, *arguments, "--methods", "left-half")[0] == 0
    study = fidokit.open_study("s")
    assert set(study.methods) == {"counting", "left-half"}
    assert study.status()["missing"].sum() == 0
    code, _, err = run(capsys, *arguments, "--methods", "counting", "--against", "runner-up")
    assert code == 2
    assert "against" in err


def test_study_labels_say_the_settings(capsys, monkeypatch):
    monkeypatch.setattr(FidoSettings, "quality", classmethod(lambda cls: cls(steps=1, samples=1, grid=3, start="flat")))
    arguments = ["study", "birds.csv", "--model", MODEL, "--store", "s", "--methods", "fido,left-half"]
    assert run(capsys, *arguments, "--settings", "quality")[0] == 0
    study = fidokit.open_study("s")
    assert study.methods == ["fido-quality", "left-half"]
    assert study.manifest["methods"]["fido-quality"]["settings"]["steps"] == 1


def test_study_limit_is_spread_over_the_table(capsys):
    arguments = ["study", "birds.csv", "--model", MODEL, "--methods", "left-half"]
    assert run(capsys, *arguments, "--limit", "3", "--store", "s")[0] == 0
    assert fidokit.open_study("s").images["image_id"].tolist() == [report_cases.SCRIPT_FILE, "b2.png", "b5.png"]
    assert run(capsys, *arguments, "--limit", "100", "--store", "t")[0] == 0
    assert len(fidokit.open_study("t")) == 6


def test_study_of_what_a_detector_found(capsys, place):
    box = {"category": "1", "conf": 0.9}
    boxes = [box | {"bbox": [0, 0, 0.5, 1]}, box | {"bbox": [0.5, 0, 0.5, 1]}]
    images = [{"file": f"photographs/{name}.png", "detections": boxes} for name in (1, 2)]
    info = {"format_version": "1.5", "detector_metadata": {"typical_detection_threshold": 0.2}}
    content = {"info": info, "detection_categories": {"1": "animal"}, "images": images}
    Path("md.json").write_text(json.dumps(content))
    arguments = ["study", "md.json", "--model", MODEL, "--methods", "left-half", "--no-metrics"]
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert "Each animal is cropped to its box" in err
    assert "4 photographs" in out
    study = fidokit.open_study("runs/md")
    assert study.manifest["classifier"]["preprocessing"]["use_boxes"] is True
    assert study.images["image_id"].tolist() == [f"photographs/{name}.png#{k}" for name in (1, 2) for k in (0, 1)]
    code, _, err = run(capsys, *arguments, "--no-boxes", "--store", "whole")
    assert code == 0
    assert "4 rows are animals in a photograph that other rows show too" in err
    assert fidokit.open_study("whole").manifest["classifier"]["preprocessing"]["use_boxes"] is False


def test_photographs_and_labels_of_a_detector_lie_elsewhere(capsys, place):
    images = [
        {"file": f"{name}.png", "detections": [{"category": "1", "conf": 0.9, "bbox": [0, 0, 1, 1]}]} for name in (1, 2)
    ]
    Path("md.json").write_text(json.dumps({"detection_categories": {"1": "animal"}, "images": images}))
    Path("labels.csv").write_text(f"path,label\n1.png,Grauspecht\n2.png,{NAMES[0]}\n")
    arguments = ["study", "md.json", "--model", MODEL, "--methods", "left-half", "--no-metrics"]
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "give the folder to which the paths are relative as `--images`" in err
    assert run(capsys, *arguments, "--images", "photographs", "--labels", "labels.csv")[0] == 0
    assert fidokit.open_study("runs/md").images["label"].tolist() == ["Grauspecht", NAMES[0]]
    assert run(capsys, "study", "birds.csv", "--model", MODEL, "--labels", "labels.csv")[0] == 2
    assert run(capsys, "study", "photographs", "--model", MODEL, "--images", "photographs")[0] == 2


def test_study_of_a_folder_with_boxes_and_options(capsys, place):
    frame = pd.read_csv("birds.csv").assign(x0=1, y0=1, x1=20, y1=20)
    frame.to_csv("boxes.csv", index=False)
    code, _, _ = run(
        capsys,
        *("study", "boxes.csv", "--model", MODEL, "--methods", "left-half", "--boxes"),
        *("--precision", "float32", "--device", "cpu", "--micro-batch", "3", "--store", "s"),
    )
    assert code == 0
    assert fidokit.open_study("s").manifest["classifier"]["micro_batch"] == 3
    assert fidokit.open_study("s").manifest["classifier"]["preprocessing"]["use_boxes"] is True
    assert run(capsys, "study", "photographs", "--model", MODEL, "--methods", "left-half")[0] == 0
    assert len(fidokit.open_study("runs/photographs")) == 6


def test_ctrl_c_says_what_is_kept(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Method, "resolve", interrupt)
    code, _, err = run(capsys, "study", "birds.csv", "--model", MODEL, "--methods", "counting")
    assert code == 130
    assert err == "fidokit: stopped; finished masks are kept in runs/birds; the same command goes on from there\n"
    code, _, err = run(capsys, "explain", "photographs/1.png", "--model", MODEL)
    assert code == 130
    assert err == "fidokit: stopped; nothing was written\n"


def test_ctrl_c_within_a_study_keeps_what_is_finished(capsys, monkeypatch, place):
    def spoil(batch):
        if "b4.png" in batch.image_ids:
            raise KeyboardInterrupt

    monkeypatch.setitem(_REGISTRY, "stops", study_cases.counting_method(spoil=spoil))
    arguments = ["study", "birds.csv", "--model", MODEL, "--methods", "left-half,stops"]
    code, out, err = run(capsys, *arguments)
    assert code == 130
    assert "6 of 12 masks are finished and safe in runs/birds" in err
    assert out == ""
    assert not (place / "runs" / "birds" / "report.html").exists()
    monkeypatch.setitem(_REGISTRY, "stops", study_cases.counting_method())
    assert run(capsys, *arguments)[0] == 0
    assert fidokit.open_study("runs/birds").status()["finished"].tolist() == [6, 6]


def test_report_of_a_study_whose_photographs_have_moved(capsys, place):
    run(capsys, "study", "photographs", "--model", MODEL, "--methods", "left-half", "--store", "s")
    (place / "photographs").rename(place / "moved")
    code, _, _ = run(capsys, "report", "s", "--out", "page.html")
    assert code == 0
    assert (place / "page.html").read_text(encoding="utf-8").count("cannot be shown") == 6
    code, _, _ = run(capsys, "report", "s", "--data", "moved", "--max-images", "4")
    assert code == 0
    page = (place / "s" / "report.html").read_text(encoding="utf-8")
    assert page.count("<article") == 4
    assert "cannot be shown" not in page


def test_a_short_page_of_chosen_photographs(capsys, place):
    run(capsys, "study", "birds.csv", "--model", MODEL, "--methods", "left-half", "--store", "s")
    for select, n in ((["b3.png", "b1.png"], 2), (["b3.png"], 1), (["correct == False"], 1)):
        code, _, err = run(capsys, "report", "s", "--out", "short.html", "--select", *select)
        assert (code, err) == (0, "")
        assert (place / "short.html").read_text(encoding="utf-8").count("<article") == n
    code, _, err = run(capsys, "report", "s", "--out", "short.html", "--select", "b33.png", "b1.png")
    assert code == 2
    assert "did you mean 'b3.png'" in err


# samples and methods


def test_samples_say_what_to_type_next(capsys, place):
    pytest.importorskip("skimage")
    code, out, _ = run(capsys, "samples", "my photographs")
    assert code == 0
    assert len(fidokit.LabelledImages.from_folder(place / "my photographs")) >= 5
    assert "fidokit study 'my photographs' --model python:fidokit.samples:efficientnet_lite0" in out


def test_methods_lists_all_with_their_settings(capsys):
    code, out, _ = run(capsys, "methods")
    assert code == 0
    for name in fidokit.list_methods():
        assert re.search(rf"^{re.escape(name)} \(", out, re.M)
    assert "--set steps=12  (a whole number)" in out
    assert "--settings fast, quality, published" in out
