"""Groups of images, found without labels, and looked up again in other images.

A group is a node of a tree (images alike in one block of features), an end of a statistic, or a value of a column of
the user's table; over all images, or over those that are called one class. A tree offers groups of every size, since
nobody knows beforehand how many images a cause has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage
from scipy.sparse import csr_array

from fidokit.errors.features import Features
from fidokit.errors.space import PrincipalSpace as PrincipalSpace
from fidokit.errors.space import nearest, typicality

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

#: Images of the smallest group.
LEAST = 8
#: A group holds at most this share of the images among which it was found: nearly all of them are no group.
MOST = 0.75
#: A group of a tree holds at least this share of the tree's images; smaller ones there are too many of to test.
LEAST_SHARE = 0.01
#: Of two groups with this Jaccard index or more, only the first is kept.
ALIKE = 0.8
#: A tree is grown from at most so many images, by chance: memory and time grow with their square.
LARGEST_TREE = 2000
#: Shares of the images at an end of a statistic that become groups.
SHARES = (0.025, 0.05, 0.1, 0.2)
#: With fewer images there is nothing to find.
FEWEST = 12


@dataclass(frozen=True)
class Group:
    """What a group of images is.

    Attributes:
        block: the block of features, the statistic, or the column of the user's table.
        how: ``tree`` (alike in the block), ``low`` or ``high`` (an end of the statistic), ``value`` (of the column).
        top: index of the predicted class that all its images have, or None.
        value: node of the tree, where the end begins, or the value.
    """

    block: str
    how: str
    top: int | None
    value: float | int | str | None = None


class GroupFinder(Protocol):
    """Groups of one kind, and how to look images up in them."""

    groups: list[Group]

    def look_up(self, features: Features) -> tuple[Bools, Singles]:
        """(G, N) whether each image is in each group, and (G, N) how typical it is of it, the larger the more."""

    def select(self, which: Bools) -> None:
        """Forget the groups that are not among the (G,) chosen."""

    def refit(self, drawn: Bools) -> Floats:
        """(G,) best Jaccard index of each group with one found anew among some of the images, on those.

        Args:
            drawn: (N,) which of the images in which the groups were found.
        """


class Tree:
    """Nodes of a Ward hierarchy of the images in one block of features.

    Attributes:
        block: its name.
        top: the predicted class among whose images it was grown, or None for all.
        rows: (M,) positions of its images among those it was grown from.
        space: in which they lie.
        points: (M, d) where.
        groups: G nodes.
        inside: (G, M) which of its images each node holds.
    """

    def __init__(self, block: str, top: int | None, rows: Ints, space: PrincipalSpace, points: Floats) -> None:
        self.block, self.top, self.rows, self.space, self.points = block, top, rows, space, points
        self.groups: list[Group] = []
        self.inside: Bools = np.zeros((0, len(rows)), dtype=bool)
        if len(rows) < FEWEST or np.ptp(points, axis=0).max() <= 1e-9:
            return
        merges = linkage(points, "ward")
        least = max(LEAST, round(LEAST_SHARE * len(rows)))
        sizes = merges[:, 3].astype(np.int64)
        nodes = np.flatnonzero((sizes >= least) & (sizes <= MOST * len(rows)))
        self.inside = _leaves(merges, nodes)
        self.groups = [Group(block, "tree", top, int(node)) for node in nodes]

    @classmethod
    def grow(cls, features: Features, block: str, top: int | None, rows: Ints, seed: int) -> Tree:
        """The tree of some images in a block.

        Args:
            features: of at least these images.
            block: its name.
            top: the predicted class whose images it takes, or None.
            rows: positions of the images.
            seed: by which `LARGEST_TREE` of them are drawn if there are more.
        """
        own = rows if top is None else rows[features.top[rows] == top]
        if len(own) > LARGEST_TREE:
            own = np.sort(np.random.default_rng(seed).choice(own, LARGEST_TREE, replace=False))
        values = features.blocks[block][own]
        space = PrincipalSpace.fit(values)
        return cls(block, top, own, space, space.place(values))

    def look_up(self, features: Features) -> tuple[Bools, Singles]:
        """An image is where the nearest image of the tree is; typical is what is near the middle of its group and far
        from the middle of the rest."""
        n = len(features)
        members = np.zeros((len(self.groups), n), dtype=bool)
        typical = np.full((len(self.groups), n), -1, np.float32)
        own = np.arange(n) if self.top is None else np.flatnonzero(features.top == self.top)
        known = features.blocks.get(self.block)
        # Other images may not have what this block is made of, such as boxes.
        if not self.groups or not len(own) or known is None or known.shape[1] != len(self.space.mean):
            return members, typical
        placed = self.space.place(known[own])
        members[:, own] = self.inside[:, nearest(placed, self.points)]
        share = self.inside / self.inside.sum(1, keepdims=True)
        rest = ~self.inside / (~self.inside).sum(1, keepdims=True)
        typical[:, own] = typicality(placed, share @ self.points, rest @ self.points)
        return members, typical

    def select(self, which: Bools) -> None:
        self.groups = [group for group, chosen in zip(self.groups, which, strict=True) if chosen]
        self.inside = self.inside[which]

    def refit(self, drawn: Bools) -> Floats:
        mine = np.flatnonzero(drawn[self.rows])
        if len(mine) < 3:
            return np.zeros(len(self.groups))
        return _best_jaccard(linkage(self.points[mine], "ward"), self.inside[:, mine])


class Tails:
    """Low and high ends of statistics, among all images or those called one class.

    Attributes:
        top: the class, or None.
        rows: (M,) positions of the images among those they were cut from.
        groups: G ends.
        shares: (G,) of the images.
        values: (M, J) of J statistics.
        columns: (G,) which statistic each is an end of.
    """

    def __init__(
        self,
        top: int | None,
        rows: Ints,
        groups: list[Group],
        shares: list[float],
        values: Floats,
        columns: list[int],
    ) -> None:
        self.top, self.rows, self.groups, self.values = top, rows, groups, values
        self.shares, self.columns = np.asarray(shares), np.asarray(columns, np.int64)

    @classmethod
    def cut(cls, features: Features, top: int | None, rows: Ints) -> Tails:
        """The ends of every statistic of some images, at the quantiles `SHARES`."""
        own = rows if top is None else rows[features.top[rows] == top]
        values = features.named.to_numpy(np.float64)[own]
        groups, shares, columns = [], [], []
        for column, name in enumerate(features.named):
            ordered = _ordered(values[:, column])
            for how in ("low", "high"):
                for share in SHARES:
                    cut = _cut(ordered, how, share)
                    if cut is not None:
                        groups.append(Group(str(name), how, top, cut))
                        shares.append(share)
                        columns.append(column)
        return cls(top, own, groups, shares, values, columns)

    def look_up(self, features: Features) -> tuple[Bools, Singles]:
        members = np.zeros((len(self.groups), len(features)), dtype=bool)
        typical = np.zeros((len(self.groups), len(features)), np.float32)
        called = np.ones(len(features), bool) if self.top is None else features.top == self.top
        named = {str(name): features.named[name].to_numpy(np.float64) for name in features.named}
        nothing = np.full(len(features), np.nan)
        for g, group in enumerate(self.groups):
            beyond = _beyond(named.get(group.block, nothing), group)
            members[g] = called & (beyond >= 0)
            typical[g] = np.where(np.isfinite(beyond), beyond, np.finfo(np.float32).min)
        return members, typical

    def select(self, which: Bools) -> None:
        self.shares, self.columns = self.shares[which], self.columns[which]
        self.groups = [group for group, chosen in zip(self.groups, which, strict=True) if chosen]

    def refit(self, drawn: Bools) -> Floats:
        values = self.values[drawn[self.rows]]
        ordered = {column: _ordered(values[:, column]) for column in np.unique(self.columns).tolist()}
        best = np.zeros(len(self.groups))
        for g, (group, share, column) in enumerate(zip(self.groups, self.shares, self.columns.tolist(), strict=True)):
            cut = _cut(ordered[column], group.how, share, least=1)
            if cut is not None:
                before = _beyond(values[:, column], group) >= 0
                after = _beyond(values[:, column], replace(group, value=cut)) >= 0
                best[g] = (before & after).sum() / max(1, (before | after).sum())
        return best


class Values:
    """Values of the columns of the user's table that name things.

    Attributes:
        groups: G values.
        space: of the block ``whole``, in which it is told what is typical; None without such a block.
        middles, others: (G, d) middles of each group and of all other images in it.
    """

    def __init__(self, groups: list[Group], space: PrincipalSpace | None, middles: Floats, others: Floats) -> None:
        self.groups, self.space, self.middles, self.others = groups, space, middles, others

    @classmethod
    def collect(cls, features: Features, rows: Ints) -> Values:
        """The values that at least `LEAST` of some images have, and not nearly all."""
        whole = features.blocks.get("whole")
        space = None if whole is None else PrincipalSpace.fit(whole[rows])
        points = np.zeros((len(rows), 1)) if space is None or whole is None else space.place(whole[rows])
        groups, middles, others = [], [], []
        for name in features.categories:
            values = features.categories[name].iloc[rows]
            counts = values.value_counts()
            for value in sorted(str(v) for v, n in counts.items() if n >= LEAST and n <= MOST * len(rows)):
                inside = (values == value).to_numpy(bool)
                groups.append(Group(str(name), "value", None, value))
                middles.append(points[inside].mean(0))
                others.append(points[~inside].mean(0))
        width = (len(groups), points.shape[1])
        return cls(groups, space, np.reshape(middles, width), np.reshape(others, width))

    def look_up(self, features: Features) -> tuple[Bools, Singles]:
        members = np.zeros((len(self.groups), len(features)), dtype=bool)
        for g, group in enumerate(self.groups):
            if group.block in features.categories:
                members[g] = (features.categories[group.block] == group.value).to_numpy(bool)
        whole = features.blocks.get("whole")
        if self.space is None or whole is None or whole.shape[1] != len(self.space.mean):
            return members, members.astype(np.float32)
        return members, typicality(self.space.place(whole), self.middles, self.others)

    def select(self, which: Bools) -> None:
        self.groups = [group for group, chosen in zip(self.groups, which, strict=True) if chosen]
        self.middles, self.others = self.middles[which], self.others[which]

    def refit(self, drawn: Bools) -> Floats:
        return np.ones(len(self.groups))


def find_groups(features: Features, seed: int) -> list[GroupFinder]:
    """All groups of these images, in finders; of those that are nearly the same, the first.

    Args:
        features: of the discovery half. Nothing here knows a label.
        seed: of the images that large trees are grown from.

    Returns:
        Values and ends of statistics first, which have a name, then trees; all images first, then each predicted class
        that has enough of them. Empty for too few images, and where all are the same.
    """
    rows = np.arange(len(features))
    if len(rows) < FEWEST:
        return []
    classes, counts = np.unique(features.top, return_counts=True)
    tops: list[int | None] = [None, *(int(c) for c, n in zip(classes, counts, strict=True) if FEWEST <= n < len(rows))]
    finders: list[GroupFinder] = [Values.collect(features, rows)]
    finders += [Tails.cut(features, top, rows) for top in tops]
    finders += [Tree.grow(features, block, top, rows, seed) for top in tops for block in features.blocks]
    finders = [finder for finder in finders if finder.groups]
    if not finders:
        return []
    kept = _different(look_up(finders, features)[0])
    start = 0
    for finder in finders:
        stop = start + len(finder.groups)
        finder.select(kept[start:stop])
        start = stop
    return [finder for finder in finders if finder.groups]


def look_up(finders: list[GroupFinder], features: Features) -> tuple[Bools, Singles]:
    """(G, N) members and (G, N) how typical they are, of all groups of all finders in order."""
    if not finders:
        return np.zeros((0, len(features)), dtype=bool), np.zeros((0, len(features)), np.float32)
    parts = [finder.look_up(features) for finder in finders]
    return np.concatenate([members for members, _ in parts]), np.concatenate([typical for _, typical in parts])


def stabilities(finders: list[GroupFinder], features: Features, times: int, seed: int) -> Floats:
    """(G,) mean best Jaccard index of each group with those found again among images drawn anew with replacement.

    Source: Hennig, "Cluster-wise assessment of cluster stability", 2007.

    Args:
        finders: from `find_groups`.
        features: the same as there.
        times: how often images are drawn.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    total = np.zeros(sum(len(finder.groups) for finder in finders))
    for _ in range(times):
        drawn = np.zeros(len(features), dtype=bool)
        drawn[generator.integers(0, len(features), len(features))] = True
        found = [finder.refit(drawn) for finder in finders]
        total += np.concatenate(found) if found else total
    return total / max(1, times)


def _leaves(merges: Floats, nodes: Ints) -> Bools:
    """(G, M) leaves of the nodes of a hierarchy, given by their rows in `merges`."""
    m = len(merges) + 1
    place = {int(node): g for g, node in enumerate(nodes)}
    inside = np.zeros((len(nodes), m), dtype=bool)
    children = merges[:, :2].astype(np.int64)
    members: dict[int, list[int]] = {}
    for row, (a, b) in enumerate(children):
        own = [leaf for child in (int(a), int(b)) for leaf in (members.pop(child) if child >= m else [child])]
        members[m + row] = own
        if row in place:
            inside[place[row], own] = True
    return inside


def _best_jaccard(merges: Floats, groups: Bools) -> Floats:
    """(G,) largest Jaccard index of (G, M) groups of leaves with any node of a hierarchy, its leaves and root too."""
    m = groups.shape[1]
    counts = np.zeros((2 * m - 1, len(groups)), np.float32)
    counts[:m] = groups.T
    for row, (a, b) in enumerate(merges[:, :2].astype(np.int64)):
        np.add(counts[a], counts[b], out=counts[m + row])
    sizes = np.concatenate([np.ones(m), merges[:, 3]]).astype(np.float32)
    own = groups.sum(1).astype(np.float32)
    best: Floats = (counts / np.maximum(sizes[:, None] + own - counts, 1)).max(0).astype(np.float64)
    return best


def _different(members: Bools) -> Bools:
    """(G,) the groups that are not nearly the same as one before them."""
    # Most groups are small, so that a sparse product does far less than a dense one.
    sparse = csr_array(members.astype(np.float32))
    sizes = members.sum(1)
    both = (sparse @ sparse.T).tocoo()
    union = sizes[both.row] + sizes[both.col] - both.data
    near = (both.data >= ALIKE * union) & (both.row > both.col)
    earlier: dict[int, list[int]] = {}
    for row, column in zip(both.row[near].tolist(), both.col[near].tolist(), strict=True):
        earlier.setdefault(row, []).append(column)
    kept: Bools = sizes >= LEAST
    for g in range(len(members)):
        kept[g] = kept[g] and not any(kept[e] for e in earlier.get(g, ()))
    return kept


def _ordered(values: Floats) -> Floats:
    """The finite values in order."""
    return np.sort(values[np.isfinite(values)])


def _cut(ordered: Floats, how: str, share: float, least: int = LEAST) -> float | None:
    """Where the end of a statistic begins, or None if it has no end of about this share of the images."""
    n = round(share * len(ordered))
    if n < least:
        return None
    cut = float(ordered[n - 1] if how == "low" else ordered[-n])
    place = int(np.searchsorted(ordered, cut, "right" if how == "low" else "left"))
    # Where many images have the same value, the end would hold far more of them than asked for.
    return cut if (place if how == "low" else len(ordered) - place) <= 1.5 * n else None


def _beyond(values: Floats, group: Group) -> Floats:
    """(N,) how far values lie beyond the cut of an end; NaN stays NaN."""
    assert isinstance(group.value, float)
    return group.value - values if group.how == "low" else values - group.value
