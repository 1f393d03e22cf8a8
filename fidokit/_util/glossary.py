"""The words of the field as fidokit uses them: one list, for the page, the widgets, the command line and the docs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One entry.

    Attributes:
        name: as it is written.
        meaning: what it is, in one or two sentences.
        use: what a reader does with it, or which direction is good; empty where the meaning says it all.
    """

    name: str
    meaning: str
    use: str = ""

    @property
    def text(self) -> str:
        """Meaning and use."""
        return f"{self.meaning} {self.use}".strip()


def anchor(key: str) -> str:
    """Where an entry stands, on every page that has the list: ``<a href="#word-ssr">``."""
    return f"word-{key.replace('_', '-')}"


#: Key -> entry. Keys of figures are the names of their columns.
GLOSSARY: dict[str, Term] = {
    # Masks and regions.
    "mask": Term(
        "Mask",
        "A map over the photograph, from 0 to 1: 1 where the place belongs to the region that its kind names. The sign "
        "is the same for every method and kind.",
        "Look at the verdict beside it before you look at the mask.",
    ),
    "ssr": Term(
        "SSR",
        "Smallest sufficient region: with it alone, and the rest filled in, the classifier still finds the class.",
        "Read it as “this is enough”. Its score kept alone should stay high.",
    ),
    "sdr": Term(
        "SDR",
        "Smallest destroying region: with it filled in, and the rest kept, the classifier no longer finds the class.",
        "Read it as “this is needed”. The score that is left without it should be low.",
    ),
    "joint": Term(
        "Joint",
        "√(SSR × SDR): the places that are both enough and needed.",
        "A good first look; it is a rule of thumb and may fail its own test, which its verdict says.",
    ),
    "effect_map": Term(
        "Effect map",
        "What each place is worth: by how much the explained value falls when it is filled in. The mask, scaled to 1, "
        "has the places that speak for the class.",
        "Take it to say which of several parts is worth most. It claims no region, so that it need not pass the test "
        "of one. “masks.raw” has the effects with their signs and standard errors.",
    ),
    "attribution": Term(
        "Attribution",
        "What a gradient method such as Grad-CAM calls important; no region was optimised.",
        "Compare it with SSR and SDR, and believe it as far as its verdict and the sanity check go.",
    ),
    "region": Term(
        "Region",
        "A part of the photograph cut from a mask: the smallest cut of which the claim (enough, or needed) is true.",
        "Only cut where it was asked for (“fidokit regions” or “study.regions()”).",
    ),
    "holds": Term(
        "Holds",
        "A region holds if its claim is true under fill-ins that nothing was optimised with.",
        "A region that does not hold is no explanation; do not report it.",
    ),
    "verdict": Term(
        "Verdict",
        "What the scores say of a mask. Enough: alone it keeps at least 90 % of the whole photograph's score. Needed: "
        "without it at most 10 % of that score is left.",
        "“Enough and needed” and “enough only” may be shown as an answer; “explains little” may not.",
    ),
    "infill": Term(
        "Fill-in (infill)",
        "What stands in for a pixel that is taken away: a blur, a flat colour, a piece of another photograph.",
        "A finding that holds under one fill-in alone may be a trait of that fill-in.",
    ),
    "unseen": Term(
        "Not seen",
        "The part of the photograph outside the classifier's input, hatched in the pictures. Nothing there can have "
        "changed the answer.",
        "If the animal may be there, let the classifier crop to boxes (use_boxes=True, --boxes) or take the whole "
        "frame (fit=“squash”).",
    ),
    # Scores and costs.
    "score": Term(
        "Score",
        "What the classifier gives the class, from 0 to 1.",
        "It is not the chance of being right unless the classifier is calibrated.",
    ),
    "margin": Term(
        "Margin",
        "Score by which the predicted class leads the runner-up.",
        "Near 0 the classifier wavers: look at those photographs first.",
    ),
    "explained_value": Term(
        "Explained value",
        "What masks and effects are about: the class's logit, which the classifier gives it before classes are set "
        "against each other; where two classes are told apart, their log-odds.",
        "Said beside a mask where it is another.",
    ),
    "log_odds": Term(
        "Log-odds",
        "The logarithm of the odds of a class against all others, or against one other. 0 means even odds, each 2.3 "
        "more means ten times the odds.",
    ),
    "score_kept": Term(
        "Score kept",
        "The score with only the mask's region kept and the rest filled in.",
        "Higher is better: the region is enough.",
    ),
    "score_dropped": Term(
        "Score dropped",
        "The score with the mask's region filled in and the rest kept.",
        "Lower is better: the region is needed.",
    ),
    "area": Term(
        "Area",
        "Share of the photograph that the mask covers (its mean).",
        "At equal scores the smaller mask tells more; by itself no direction is good.",
    ),
    "evaluations": Term(
        "Evaluation",
        "One photograph sent through the classifier once: the unit of cost.",
        "Fewer is cheaper.",
    ),
    "seconds": Term("Seconds", "Time that one photograph took.", "Fewer is cheaper."),
    # Metrics.
    "insertion": Term(
        "Insertion",
        "The most important pixels are kept, the rest filled in, at rising shares: mean score as a share of the whole "
        "photograph's.",
        "Higher is better: few pixels bring the class back.",
    ),
    "deletion": Term(
        "Deletion",
        "The most important pixels are filled in, at rising shares: mean score as a share of the whole photograph's.",
        "Lower is better: few pixels take the class away.",
    ),
    "sufficient_area": Term(
        "Sufficient area",
        "Smallest share of pixels that, kept alone, keeps the classifier's answer.",
        "Lower is better.",
    ),
    "destroying_area": Term(
        "Destroying area",
        "Smallest share of pixels without which the classifier answers otherwise.",
        "Lower is better.",
    ),
    "road": Term(
        "ROAD",
        "Half the score lost with the most important pixels minus that lost with the least important ones, filled in "
        "so that no outline gives the region away; from -0.5 to 0.5.",
        "Higher is better.",
    ),
    "average_precision": Term(
        "Average precision",
        "How well the mask ranks the animal's pixels before all others, from 0 to 1, against the annotated place.",
        "Higher means “on the animal”. A classifier that looks at the habitat has a low one, and its mask is right.",
    ),
    "energy_inside": Term(
        "Energy inside", "Share of the mask that lies on the annotated animal.", "Higher means “on the animal”."
    ),
    "pointing_game": Term(
        "Pointing game",
        "Whether the mask's highest place lies on the annotated animal.",
        "Higher means “on the animal”.",
    ),
    "iou": Term(
        "IoU",
        "Overlap of the mask where it exceeds its mean with the annotated box, over the union.",
        "Higher is better.",
    ),
    "iou_at_object_area": Term(
        "IoU at object area",
        "Overlap with the annotated animal, over the union, when the mask is cut to the animal's area.",
        "Higher is better.",
    ),
    "false_discovery_rate": Term(
        "False discovery rate",
        "Share of the mask, where it exceeds its mean, that lies outside the annotated box.",
        "Lower is better.",
    ),
    "total_variation": Term(
        "Total variation", "How ragged the most important fifth of the mask is.", "Lower is smoother."
    ),
    "entropy": Term(
        "Entropy",
        "How undecided the mask is: 0 if every place is 0 or 1, 1 if all are a half.",
        "It describes the mask; no direction is good.",
    ),
    "agreement": Term(
        "Agreement",
        "Rank correlation of the mask with those of the other methods.",
        "Two methods that agree can both be wrong; that they differ is a reason to look.",
    ),
    "mask_stability": Term(
        "Stability of masks",
        "Correlation of masks of the same photograph computed with other random seeds.",
        "Higher is better; a mask of low stability changes when it is computed again.",
    ),
    "sanity": Term(
        "Sanity check",
        "Correlation of the mask with that of a classifier with random parameters (Adebayo et al. 2018).",
        "Lower is better: a mask that stays the same shows the picture's edges and not what the classifier learnt.",
    ),
    "part_correlation": Term(
        "Part correlation",
        "Correlation of the mask's sum on each part of the animal with what removing that part does to the classifier.",
        "Higher is better.",
    ),
    "sufficient_holds": Term(
        "Sufficient holds",
        "Share of the sufficient regions that hold, smaller than the whole picture.",
        "Higher is better.",
    ),
    "destroying_holds": Term(
        "Destroying holds",
        "Share of the destroying regions that hold, smaller than the whole picture.",
        "Higher is better.",
    ),
    "sufficient_region_area": Term(
        "Sufficient region area", "Share of the photograph that sufficient regions take.", "Lower is better."
    ),
    "destroying_region_area": Term(
        "Destroying region area", "Share of the photograph that destroying regions take.", "Lower is better."
    ),
    "interval": Term(
        "95 % interval",
        "Where the figure would lie in 95 of 100 such sets of photographs (bootstrap over the photographs).",
        "Two figures differ for certain only if the comparison of pairs says so. One photograph has no interval.",
    ),
    # Error clusters.
    "cluster": Term(
        "Error cluster",
        "Photographs, right and wrong, that are alike in what the classifier used; grouped without their labels.",
        "Numbered from 1, the clearest first.",
    ),
    "systematic": Term(
        "Systematic",
        "A cluster with more errors than its classes explain, confirmed on photographs that it was not found on, and "
        "found again when photographs are drawn anew.",
        "These are worth your time; the others may be chance.",
    ),
    "expected_rate": Term(
        "Expected errors",
        "How many errors the species in the cluster would have anyway.",
        "Compare the errors with it.",
    ),
    "q_value": Term(
        "q",
        "Chance that a cluster this clear is a false alarm, corrected for the number of clusters looked at.",
        "Lower is clearer; at most 0.05 counts.",
    ),
    "holdout": Term(
        "Held-out half",
        "Half of the photographs take no part in finding clusters and only test them.",
        "Believe an error rate that is as high there as on the half that found it.",
    ),
    "stability": Term(
        "Stability of clusters",
        "Overlap with the cluster found when the photographs are drawn anew, from 0 to 1.",
        "Higher is better; at least 0.5 counts.",
    ),
    "effect": Term(
        "Effect of the cause",
        "Share of the errors that turn right when the pixels of the suspected cause are filled in, minus the share "
        "when as many other pixels are.",
        "Above 0, with its whole interval, the cause is real.",
    ),
    "proof": Term(
        "Proved, supported, not shown",
        "What changing the pixels showed on the held-out half: proved beats every control, supported turns more errors "
        "right but not for certain, not shown does not. Where light, sharpness or size is the cause, no fill-in can "
        "mend it: “not a matter of pixels to fill in”.",
        "Act on what is proved; collect more photographs for what is supported.",
    ),
    # Classified again.
    "unit": Term(
        "Independent unit",
        "What counts as one in a test: a photograph, or a burst or a night of which the photographs are alike.",
    ),
    "p_value": Term(
        "p",
        "How often chance alone would show a difference as large.",
        "Lower is clearer; at most 0.05 counts.",
    ),
    "calibration_error": Term(
        "Calibration error",
        "How far scores lie from the share that is right among photographs with such scores.",
        "Lower is better.",
    ),
    "equal_cost": Term(
        "Equal cost",
        "Whether a control may spend as many evaluations as the masks.",
        "A gain that no such control reaches is due to the masks.",
    ),
}
