"""What a result shows at the end of a notebook's cell: a small piece of HTML that needs neither network nor kernel."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from fidokit._util.display import html_of, picture_of
from fidokit._util.html import Html, joined, name_tag, tag
from fidokit._util.numbers import number, percentage, with_interval
from fidokit._util.shares import p_words
from fidokit.data.geometry import UNKNOWN_PLACE
from fidokit.data.images import LabelledImages
from fidokit.data.readers.left_out import told as left_out_words
from fidokit.enhance.judging import Improvement
from fidokit.errors.answer import Answer
from fidokit.errors.result import ErrorClusters
from fidokit.exceptions import FidokitError, ImageError, SettingsError
from fidokit.figures.answers import cells_of, heads_of, with_box
from fidokit.figures.errors import contact_sheet
from fidokit.figures.masks import (
    CLAIM_COLOURS,
    KIND_NAMES,
    Panel,
    masks_panels,
    masks_png,
    sheet_png,
    sheet_svg,
    value_words,
)
from fidokit.figures.pictures import photographs_of
from fidokit.methods.base import Kind, Masks
from fidokit.methods.individuals import Pairs
from fidokit.methods.regions import Regions
from fidokit.methods.verdicts import is_whole, standing
from fidokit.models.adapting import plain_module
from fidokit.models.classifier import Classifier
from fidokit.models.goals import independent, of_probabilities
from fidokit.models.taxonomy import Taxonomy
from fidokit.study.study import Study

#: The joint mask first: it is the one to look at when there is time for one alone.
KIND_ORDER: tuple[Kind, ...] = ("joint", "ssr", "sdr", "effect", "attribution")
#: Photographs whose masks are shown; the others are counted.
MOST_MASKS = 3
_MOST_THUMBNAILS = 6
MOST_ROWS = 10
#: Bytes of one picture, so that a notebook of many results stays small.
_PICTURE_BYTES = 45_000
#: Pixels, so that four panels, six thumbnails or six typical photographs stand in a notebook's column.
_PANEL_HEIGHT = 150
_THUMBNAIL = 90
_TYPICAL = 110
_LEFT = "text-align:left"


@html_of.register
def _masks_html(masks: Masks) -> Html:
    """The first photographs of a result with their masks, what the masks do to the score, and what they cost."""
    n = len(masks)
    parts: list[object] = [tag("p", tag("strong", masks.method), f": masks of {counted(n, 'photograph')}")]
    for i in range(min(n, MOST_MASKS)):
        parts.append(_masks_of_one(masks, i))
    if n > MOST_MASKS:
        parts.append(tag("p", f"and {n - MOST_MASKS:,} more; masks.to_frame() has a row for each mask"))
    parts += _failures(masks.failures.items(), "without a mask")
    return tag("div", *parts)


def _masks_of_one(masks: Masks, i: int) -> Html:
    reason, unseen = None, ""
    try:
        picture = _opened(masks_png(masks, i, height=_PANEL_HEIGHT, scores=False))
        unseen = "" if masks.images is None else masks.unseen_words(i, masks.photograph(i)[1])
    except ImageError as error:
        reason = f"Shown without the photograph: {error}"
        bare = masks.select(slice(i, i + 1))
        bare.images = None
        picture = _opened(masks_png(bare, 0, height=_PANEL_HEIGHT, scores=False))
    facts = [["Photograph", masks.image_ids[i]], *facts_of(masks, i)]
    return tag(
        "figure",
        picture_tag(picture, f"Masks of {masks.image_ids[i]}"),
        tag("figcaption", *(tag("div", f"{term}: ", name_tag(value)) for term, value in facts),
            tag("div", reason) if reason else None,
            tag("div", tag("strong", unseen)) if unseen else None),
        style="margin:0 0 1em",
    )  # fmt: skip


def facts_of(masks: Masks, i: int = 0) -> list[list[str]]:
    """What there is to say of one photograph's masks, as terms and texts."""
    against = masks.against[i]
    facts = [["Explained", masks.target[i] + (f" rather than {against}" if against else "")]]
    facts.append(["Whole photograph", f"score {number(float(masks.score_full[i]))}"])
    for kind in sorted(KIND_ORDER, key=lambda kind: standing(masks.verdict(kind, i))):
        if kind in masks.score_kept:
            kept, dropped = (float(scores[kind][i]) for scores in (masks.score_kept, masks.score_dropped))
            name = f"Mask {KIND_NAMES[kind]}" if kind != "attribution" else "Mask"
            told = f"score {number(kept)} with its region kept (higher is better), {number(dropped)} with it dropped "
            told += "(lower is better)"
            facts.append([name, f"{told}: {masks.verdict(kind, i)}"])
    if value := value_words(masks.explained, against):
        facts.append(["Explained value", value])
    facts.append(["Cost", f"{int(masks.evaluations[i])} evaluations, {float(masks.seconds[i]):.1f} s"])
    if not bool(masks.finished[i]):
        facts.append(["Stopped", "the mask is what there was when it was stopped"])
    if masks.preprocessing is not None and masks.preprocessing.transform is not None:
        facts.append(["Drawn on", f"the classifier's input: {UNKNOWN_PLACE}"])
    note = masks.notes.get(masks.image_ids[i])
    return facts if note is None else [*facts, ["Note", note]]


@html_of.register
def _pairs_html(pairs: Pairs) -> Html:
    """The first matches: masks on the query, and on the reference that decided."""
    parts: list[object] = [tag("p", tag("strong", "Pairs"), f": {counted(len(pairs), 'query', 'queries')}")]
    for i, row in enumerate(pairs.table.head(MOST_MASKS).to_dict("records")):
        words = [
            ("Query ", row["image_id"]),
            (" is most similar to ", row["reference_id"]),
            (" of ", row["individual"]),
            (f" (cosine {number(row['similarity'])}); the runner-up is ", row["runner_up"]),
        ]
        caption = tag("figcaption", *(part for before, name in words for part in (before, name_tag(name))))
        parts.append(_figure(partial(_pair_panels, pairs, i), caption, f"Masks of {row['image_id']}"))
    if len(pairs) > MOST_MASKS:
        parts.append(tag("p", f"and {len(pairs) - MOST_MASKS:,} more; pairs.table has a row for each query"))
    return tag("div", *parts)


@html_of.register
def _regions_html(regions: Regions) -> Html:
    """The first photographs with the outlines of their regions, and what was found of each."""
    by_image = _by_image(regions)
    n = len(by_image)
    parts: list[object] = [tag("p", tag("strong", repr(regions)), f", of {counted(n, 'photograph')}")]
    for i, (image_id, own) in enumerate(list(by_image.items())[:MOST_MASKS]):
        lines = [tag("div", f"{KIND_NAMES[one.kind]}: {one.verdict}") for one in own]
        caption = tag("figcaption", tag("div", name_tag(image_id)), *lines)
        parts.append(_figure(partial(_region_panels, regions, i), caption, f"Regions of {image_id}"))
    if n > MOST_MASKS:
        parts.append(tag("p", f"and {n - MOST_MASKS:,} more; regions.to_frame() has a row for each region"))
    return tag("div", *parts)


def _figure(panels: Callable[[], list[Panel]], caption: Html, alt: str) -> Html:
    try:
        picture = picture_tag(_opened(sheet_png(panels(), height=_PANEL_HEIGHT)), alt)
    except (ImageError, SettingsError) as error:
        picture = tag("p", f"The photograph cannot be shown: {error}")
    return tag("figure", picture, caption, style="margin:0 0 1em")


@picture_of.register
def _masks_picture(masks: Masks, i: int, form: str) -> bytes:
    return _sheet(masks_panels(masks, _place(i, len(masks))), form)


@picture_of.register
def _pairs_picture(pairs: Pairs, i: int, form: str) -> bytes:
    return _sheet(_pair_panels(pairs, _place(i, len(pairs))), form)


@picture_of.register
def _regions_picture(regions: Regions, i: int, form: str) -> bytes:
    return _sheet(_region_panels(regions, _place(i, len(_by_image(regions)))), form)


def _sheet(panels: list[Panel], form: str) -> bytes:
    return sheet_png(panels) if form == "png" else sheet_svg(panels)


def _place(i: int, n: int) -> int:
    if not 0 <= i < n:
        raise SettingsError(f"i = {i}: there are {n} photographs here, counted from 0")
    return i


def _pair_panels(pairs: Pairs, i: int) -> list[Panel]:
    """Query and reference, each beside its masks."""
    row = pairs.table.iloc[i]
    panels: list[Panel] = []
    sides = ((pairs.query, f"query {row['image_id']}"), (pairs.reference, f"reference {row['reference_id']}"))
    for masks, name in sides:
        bare, *others = masks_panels(masks, masks.image_ids.index(row["image_id"]), scores=False)
        panels += [replace(bare, caption=name), *others]
    return panels


def _region_panels(regions: Regions, i: int) -> list[Panel]:
    """The photograph, and each of its regions outlined, its surroundings dimmed."""
    (image_id, own) = list(_by_image(regions).items())[i]
    if regions.masks is None:
        raise SettingsError("these regions do not know their photographs; those of find_regions do")
    photograph, geometry = regions.masks.photograph(regions.masks.image_ids.index(image_id))
    panels = [Panel(image_id, photograph, geometry)]
    for one in own:
        # A line around the whole picture would look like a finding.
        whole = is_whole(one.area)
        words = f"{KIND_NAMES[one.kind]}: {'the whole picture' if whole else one.verdict.partition(':')[0]}"
        mask = None if whole else one.region.astype(np.float32)
        panels.append(Panel(words, photograph, geometry, mask, CLAIM_COLOURS[one.claim], coloured=False))
    return panels


def _by_image(regions: Regions) -> dict[str, list[Any]]:
    """image_id -> its regions, in the order in which they stand."""
    found: dict[str, list[Any]] = {}
    for one in regions:
        found.setdefault(one.image_id, []).append(one)
    return found


@html_of.register
def _images_html(data: LabelledImages) -> Html:
    """How many photographs there are of each class, and a few of them."""
    labels = data.table["label"]
    counts = labels.dropna().value_counts()
    unlabelled = int(labels.isna().sum())
    boxes = int(data.boxed.sum())
    told = [counted(len(data), "photograph"), counted(len(counts), "class", "classes")]
    told += [f"{unlabelled:,} without a label"] if unlabelled else []
    told += [f"{boxes:,} with a box"] if boxes else []
    passed_over = f" ({left_out_words(data.left_out)})" if data.left_out else ""
    told += [f"{data.skipped:,} passed over by the reader{passed_over}"] if data.skipped or passed_over else []
    rows = [[name_tag(name), f"{count:,}"] for name, count in counts.head(MOST_ROWS).items()]
    left_out = len(counts) - len(rows)
    return tag(
        "div",
        tag("p", tag("strong", "LabelledImages"), f": {', '.join(told)}, in ", name_tag(data.root)),
        _table(["class", "photographs"], rows) if rows else None,
        tag("p", f"and {counted(left_out, 'more class', 'more classes')}") if left_out else None,
        _thumbnails(data),
    )


def _thumbnails(data: LabelledImages) -> Html | None:
    places = np.unique(np.linspace(0, len(data) - 1, min(len(data), _MOST_THUMBNAILS)).round().astype(int))
    shown: list[Html] = []
    for i in places.tolist() if len(data) else []:
        image_id = str(data.table["image_id"].iloc[i])
        try:
            photograph = data.open(i)
        except ImageError as error:
            shown.append(tag("span", name_tag(image_id), ": ", str(error), style=f"max-width:{2 * _THUMBNAIL}px"))
            continue
        photograph.thumbnail((3 * _THUMBNAIL // 2, _THUMBNAIL), Image.Resampling.LANCZOS)
        label = data.table["label"].iloc[i]
        caption = tag("div", name_tag(label if isinstance(label, str) else image_id), style=_CUT)
        shown.append(tag("div", picture_tag(photograph, image_id), caption, style=f"width:{photograph.width}px"))
    return tag("div", *shown, style="display:flex;flex-wrap:wrap;gap:8px") if shown else None


@html_of.register
def _classifier_html(classifier: Classifier) -> Html:
    """What a classifier is, how it looks at photographs, and where and how it computes."""
    names, shape = classifier.class_names, classifier.preprocessing
    head = "independent classes (sigmoid)" if independent(classifier.head) else "one class an image (softmax)"
    head += ", of which the module gives probabilities" if of_probabilities(classifier.head) else ""
    windows = {
        "crop": "the largest centred window",
        "squash": "the whole photograph, squashed",
        "trim": "the photograph without strips at top and bottom, squashed",
    }
    seen = windows[shape.fit] + (f", {shape.crop_share:.1%} of its sides" if shape.crop_share < 1 else "")
    seen = f"the annotated box where there is one, else {seen}" if shape.use_boxes else seen
    if shape.transform is not None:
        seen = f"a transform of its own, {shape.transform_name}; masks are drawn on the input"
    batch = classifier.micro_batch
    facts: list[list[object]] = [
        ["model", name_tag(classifier.name or type(plain_module(classifier.module)).__name__)],
        ["classes", joined([f"{len(names):,}: ", *_listed(names, 5)])],
        ["head", head],
        ["input", f"{shape.size[0]} x {shape.size[1]} pixels (height x width) of {seen}, {shape.interpolation}"],
        ["device", classifier.device_text()],
        ["precision", f"{classifier.precision}: {classifier.precision_reason}"],
        ["evaluations at once", "found at the first use" if batch is None else f"{batch:,}"],
    ]
    facts += [["taxonomy", repr(classifier.taxonomy)]] if classifier.taxonomy is not None else []
    facts += [["note", note] for note in classifier.notes]
    return tag("div", tag("p", tag("strong", type(classifier).__name__)), _table([], facts))


@html_of.register
def _taxonomy_html(taxonomy: Taxonomy) -> Html:
    """How many taxa there are at each rank, and the largest of them."""
    rows: list[list[object]] = []
    for rank in taxonomy.ranks:
        own = sorted((t for t in taxonomy.taxa.values() if t.rank == rank), key=lambda taxon: -len(taxon.members))
        largest = joined([*_listed([f"{taxon.name} ({len(taxon.members)})" for taxon in own], 5)])
        rows.append([name_tag(rank), f"{len(own):,}", largest])
    without = taxonomy.without_taxon
    return tag(
        "div",
        tag("p", tag("strong", "Taxonomy"), f" of {counted(len(taxonomy), 'class', 'classes')}"),
        _table(["rank", "taxa", "largest (classes)"], rows),
        tag("p", "without a taxon: ", *_listed(without, 5)) if without else None,
    )


@html_of.register
def _clusters_html(errors: ErrorClusters) -> Html:
    """What was found, the clusters in a table, and the most typical photographs of the clearest one."""
    table = errors.clusters
    systematic = table[table["systematic"].astype(bool)]
    shown = (systematic if len(systematic) else table).head(MOST_ROWS)
    heads = ["cluster", "name", "errors", "expected", "held out", "q", "verdict", "what"]
    rows = [
        [
            str(row["cluster"]),
            name_tag(row["name"]),
            f"{row['n_errors']:.0f} of {row['size']:.0f}",
            f"{100 * row['expected_rate']:.0f} %",
            f"{row['holdout_n_errors']:.0f} of {row['holdout_size']:.0f}",
            f"{row['q_value']:.1g}",
            row["verdict"] if isinstance(row["verdict"], str) else "not verified",
            name_tag(row["sentence"], class_="sentence"),
        ]
        for row in shown.to_dict("records")
    ]
    found = [line for line in errors.summary().splitlines() if not line.startswith("- ")]
    kind = "systematic cluster" if len(systematic) else "cluster"
    left_out = (len(systematic) or len(table)) - len(shown)
    return tag(
        "div",
        tag("p", tag("strong", "ErrorClusters")),
        *(tag("div", line) for line in found),
        tag("p", "None is systematic; the clearest:") if len(shown) and not len(systematic) else None,
        _table(heads, rows) if rows else None,
        tag("p", f"and {counted(left_out, f'more {kind}')}") if left_out > 0 else None,
        _typical(errors, int(shown["cluster"].iloc[0])) if len(shown) else None,
    )


def _typical(errors: ErrorClusters, cluster: int) -> Html:
    title = f"The most typical photographs of cluster {cluster}, errors in a red frame"
    try:
        sheet = _opened(contact_sheet(errors, cluster, n=6, columns=6, side=_TYPICAL))
    except FidokitError as error:
        return tag("p", f"Its photographs cannot be shown: {error}")
    return tag("figure", picture_tag(sheet, title), tag("figcaption", title), style="margin:0")


@html_of.register
def _improvement_html(improvement: Improvement) -> Html:
    """The verdict on a second look, and the table behind it."""
    rows = [
        [
            name_tag(row["method"]),
            with_interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"], percentage),
            _interval(row["difference"], row["low"], row["high"]),
            p_words(row["p_value"]),
            f"{row['turned_right']:.0f} / {row['turned_wrong']:.0f}",
            _interval(row["masks_minus"], row["masks_minus_low"], row["masks_minus_high"]),
            f"{row['evaluations']:.1f}",
        ]
        for row in improvement.summary.to_dict("records")
    ]
    heads = ["answered by", "right", "difference", "p", "turned right / wrong", "masks minus this", "evaluations"]
    return tag(
        "div",
        tag("p", tag("strong", improvement.verdict)),
        _table(heads, rows),
        tag("p", "Shares with 95 % intervals, differences in points; settings chosen on other photographs."),
        *(tag("div", f"Note: {note}") for note in improvement.notes),
        *_failures(improvement.failures[["image_id", "reason"]].itertuples(index=False, name=None), "not measured"),
    )


@html_of.register
def _answer_html(answer: Answer) -> Html:
    """The headline of an answer, the first photographs to look at, and the beginning of its table."""
    shown = [[joined([cell.text, " ", cell.remark]) for cell in row] for row in cells_of(answer, MOST_ROWS)]
    left_out = len(answer.table) - len(shown)
    return tag(
        "div",
        tag("p", tag("strong", answer.question)),
        tag("p", answer.headline),
        _examples(answer),
        _table([head.title for head in heads_of(answer)], shown) if shown else None,
        tag("p", f"and {counted(left_out, 'more row')}; to_frame() has all of them") if left_out else None,
        *(tag("div", f"Note: {note}") for note in answer.notes),
    )


def _examples(answer: Answer) -> Html | None:
    data, remark = photographs_of(answer.study)
    if data is None or not len(answer.examples):
        return tag("p", remark) if remark else None
    shown = []
    for example in answer.examples.head(_MOST_THUMBNAILS).to_dict("records"):
        words = joined([name_tag(example["group"]), ": " if example["caption"] else None, example["caption"] or None])
        try:
            photograph = data.open(answer.study.positions[example["image_id"]])
            picture = picture_tag(with_box(photograph, example, _TYPICAL), example["image_id"])
        except ImageError as error:
            picture = tag("span", name_tag(example["image_id"]), ": ", str(error))
        shown.append(tag("div", picture, tag("div", words), style=f"width:{_TYPICAL}px"))
    return tag("div", *shown, style="display:flex;flex-wrap:wrap;gap:8px")


@html_of.register
def _study_html(study: Study) -> Html:
    """The folder of a study, and how far each method has come."""
    columns = ["finished", "failed", "missing"]
    status = study.status().to_dict("records")
    rows = [[name_tag(row["method"]), *(f"{row[name]:,}" for name in columns)] for row in status]
    return tag(
        "div",
        tag("p", tag("strong", "Study"), f" of {counted(len(study), 'photograph')} in ", name_tag(study.path)),
        _table(["method", *columns], rows),
    )


def picture_tag(picture: Image.Image, alt: str, most_bytes: int = _PICTURE_BYTES) -> Html:
    """A picture as an element that holds it: a JPEG, of lower quality where it would be larger than so many bytes."""
    buffer = io.BytesIO()
    for quality in (82, 65, 45, 25):
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= most_bytes:
            break
    source = Html(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}")
    return tag("img", src=source, alt=alt, style="max-width:100%")


_CUT = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"


def _opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    # The notebook's own style sheet sets tables to the right, which suits figures alone.
    head = tag("thead", tag("tr", *(tag("th", name, style=_LEFT) for name in heads))) if heads else None
    body = (tag("tr", *(tag("td", cell, style=_LEFT) for cell in row)) for row in rows)
    return tag("table", head, tag("tbody", *body))


def _failures(failures: Iterable[tuple[str, str]], what: str) -> list[Html]:
    found = list(failures)
    if not found:
        return []
    lines = [tag("div", name_tag(image_id), ": ", reason) for image_id, reason in found[:MOST_MASKS]]
    left_out = len(found) - len(lines)
    more = tag("div", f"and {left_out:,} more") if left_out else None
    return [tag("div", tag("strong", f"{counted(len(found), 'photograph')} {what}"), *lines, more)]


def _listed(names: Sequence[str], most: int) -> list[object]:
    parts: list[object] = []
    for name in names[:most]:
        parts += [", "] * bool(parts) + [name_tag(name)]
    return [*parts, f" and {len(names) - most:,} more"] if len(names) > most else parts


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def _interval(middle: Any, low: Any, high: Any) -> str:
    """A difference of shares in points, with its interval; nothing where there is none."""
    if pd.isna(middle) or pd.isna(low):
        return ""
    return f"{100 * middle:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
