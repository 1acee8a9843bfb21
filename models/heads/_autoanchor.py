"""AutoAnchor: measure how well the anchors cover the boxes of a data set, and fit new ones where they do not.

Whitened k-means on box sizes, then an evolution of the result (the scheme that YOLOv5 made known).
All sizes are pixels of the image scaled so that its longer side is ``imgsz``.
"""

import logging

import numpy as np

log = logging.getLogger(__name__)

MIN_RECALL = 0.98  # anchors that reach this best possible recall are kept
GENERATIONS = 1000
MUTATION_RATE, MUTATION_SIGMA, MUTATION_CLIP = 0.9, 0.1, (0.3, 3.0)
MIN_BOX_PX, MIN_ANCHOR_PX = 2.0, 2.0


def _match_ratios(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return (T, K): the worse of the width and height agreement of each box with each anchor, 1 = equal."""
    ratio = sizes[:, None] / anchors[None]
    return np.minimum(ratio, 1 / ratio).min(2)


def coverage(sizes: np.ndarray, anchors: np.ndarray, anchor_t: float) -> tuple[float, float]:
    """Return (best possible recall, anchors past the threshold per box) for anchors (K, 2)."""
    ratios = _match_ratios(sizes, anchors)
    threshold = 1 / anchor_t
    return float((ratios.max(1) > threshold).mean()), float((ratios > threshold).sum(1).mean())


def _fitness(sizes: np.ndarray, anchors: np.ndarray, anchor_t: float) -> float:
    best = _match_ratios(sizes, anchors).max(1)
    return float((best * (best > 1 / anchor_t)).mean())


def fit_anchors(
    sizes: np.ndarray, count: int, imgsz: int, anchor_t: float, rng: np.random.Generator, generations: int = GENERATIONS
) -> np.ndarray:
    """Return (count, 2) anchors in pixels, sorted by area, fitted to boxes (T, 2)."""
    anchors = _kmeans(sizes[(sizes >= MIN_BOX_PX).any(1)], count, rng)
    if anchors is None:
        log.warning("AutoAnchor: too few different boxes for k-means; starting from random anchors")
        anchors = np.sort(rng.random(count * 2)).reshape(count, 2) * imgsz
    anchors = _evolve(sizes, anchors, anchor_t, rng, generations)
    return anchors[np.argsort(anchors.prod(1))].astype(np.float32)


def _kmeans(sizes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return ``count`` centres of the whitened sizes, or None where there are not so many."""
    from scipy.cluster.vq import kmeans  # slow to import, and needed only for poor anchors

    spread = sizes.std(0) if len(sizes) else np.zeros(2)
    if len(sizes) < count or not (spread > 0).all():
        return None
    centres, _ = kmeans(sizes / spread, count, iter=30, rng=rng)
    return centres * spread if len(centres) == count else None


def _evolve(
    sizes: np.ndarray, anchors: np.ndarray, anchor_t: float, rng: np.random.Generator, generations: int
) -> np.ndarray:
    best = _fitness(sizes, anchors, anchor_t)
    for _ in range(generations):
        factor = np.ones_like(anchors)
        while (factor == 1).all():
            noise = rng.random() * rng.standard_normal(anchors.shape) * MUTATION_SIGMA
            factor = ((rng.random(anchors.shape) < MUTATION_RATE) * noise + 1).clip(*MUTATION_CLIP)
        candidate = np.maximum(anchors * factor, MIN_ANCHOR_PX)
        fitness = _fitness(sizes, candidate, anchor_t)
        if fitness > best:
            best, anchors = fitness, candidate
    return anchors


def check_anchors(
    sizes: np.ndarray, anchors: np.ndarray, imgsz: int, anchor_t: float, rng: np.random.Generator
) -> np.ndarray | None:
    """Return better anchors (K, 2) in pixels for boxes (T, 2), or None when ``anchors`` (K, 2) are good enough."""
    recall, per_box = coverage(sizes, anchors, anchor_t)
    log.info("AutoAnchor: %.2f anchors per box, best possible recall %.3f", per_box, recall)
    if recall > MIN_RECALL:
        return None
    fitted = fit_anchors(sizes, len(anchors), imgsz, anchor_t, rng)
    new_recall, _ = coverage(sizes, fitted, anchor_t)
    if new_recall <= recall:
        log.info("AutoAnchor: fitted anchors are not better (%.3f); keeping the old ones", new_recall)
        return None
    log.info("AutoAnchor: new anchors, best possible recall %.3f → %.3f", recall, new_recall)
    return fitted
