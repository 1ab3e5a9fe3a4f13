"""Pixel metrics against scikit-learn plus the published PRO loop: same maps, same machine, one run."""

import time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from bench.metrics import pixel_metrics

COMPARED = ("auroc", "f1_max", "ap", "pro")
Masks = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]


def synthetic(n_images: int, size: int, seed: int = 0) -> tuple[Masks, Maps]:
    """Masks and maps that look like a category: two thirds defective, one to three ellipses each.

    Returns:
        `[N, size, size]` uint8 0/1 and float32: smooth background, raised on the defects, as an upsampled
        patch map is; about one pixel in thirty is anomalous.
    """
    generator = np.random.default_rng(seed)
    masks = np.zeros((n_images, size, size), np.uint8)
    maps = np.empty((n_images, size, size), np.float32)
    for index, (mask, anomaly_map) in enumerate(zip(masks, maps, strict=True)):
        coarse = generator.random((37, 37), np.float32)
        for _ in range(int(generator.integers(1, 4)) if index % 3 else 0):
            centre, axes = generator.integers(0, size, 2), generator.integers(size // 40, size // 8, 2)
            cv2.ellipse(mask, centre.tolist(), axes.tolist(), float(generator.integers(180)), 0, 360, 1, -1)
        raised = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), size / 60)
        anomaly_map[:] = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) + 1.2 * raised
    return masks, maps


def sklearn_metrics(masks: Masks, maps: Maps) -> dict[str, float]:
    """Pixel AUROC, F1-max and AP by scikit-learn, one call each, as the published code computes them."""
    truth, values = masks.ravel(), maps.ravel()
    precision, recall, _ = precision_recall_curve(truth, values)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    return {
        "auroc": float(roc_auc_score(truth, values)),
        "f1_max": float(f1.max()),
        "ap": float(average_precision_score(truth, values)),
    }


def pro_loop(masks: Masks, maps: Maps) -> float:
    """PRO as the published loop does it: 200 thresholds, at each all maps and all regions anew.

    The regions come from OpenCV and are found once, outside the loop; the published code labels every mask
    again at every threshold with scikit-image, so this baseline is the kinder one.
    """
    regions = []
    for mask in masks:
        n_labels, labels = cv2.connectedComponents(mask, connectivity=8)
        regions.append([np.nonzero(labels == label) for label in range(1, n_labels)])
    normal = masks == 0
    n_normal = normal.sum()
    rates, overlaps = [], []
    low, high = float(maps.min()), float(maps.max())
    for threshold in np.arange(low, high, (high - low) / 200):
        above = maps > np.float32(threshold)
        shares = [
            image[pixels].sum() / len(pixels[0])
            for image, found in zip(above, regions, strict=True)
            for pixels in found
        ]
        overlaps.append(np.mean(shares))
        rates.append(np.logical_and(normal, above).sum() / n_normal)
    kept = np.array(rates) < 0.3
    rate, overlap = np.array(rates)[kept], np.array(overlaps)[kept]
    return float(auc((rate - rate.min()) / (rate.max() - rate.min()), overlap))


def run(n_images: int = 160, size: int = 518, seed: int = 0) -> dict[str, Any]:
    """Time both on the same maps.

    Returns:
        `n_images`, `size`, `n_pixels`, `seconds` {"sklearn", "pro_loop", "ours"}, `ratio` (baseline / ours),
        `ours` and `baseline` metrics (fractions), `max_abs_difference` {"auroc", "f1_max", "ap", "pro"}.
    """
    masks, maps = synthetic(n_images, size, seed)
    pixel_metrics(masks[:2], maps[:2])  # imports and thread pools are not what is measured
    seconds = {}
    start = time.perf_counter()
    ours = pixel_metrics(masks, maps)
    seconds["ours"] = time.perf_counter() - start
    start = time.perf_counter()
    baseline = sklearn_metrics(masks, maps)
    seconds["sklearn"] = time.perf_counter() - start
    start = time.perf_counter()
    baseline["pro"] = pro_loop(masks, maps)
    seconds["pro_loop"] = time.perf_counter() - start
    return {
        "n_images": n_images,
        "size": size,
        "n_pixels": masks.size,
        "seconds": seconds,
        "ratio": (seconds["sklearn"] + seconds["pro_loop"]) / seconds["ours"],
        "ours": dict(ours),
        "baseline": baseline,
        "max_abs_difference": {key: abs(ours[key] - baseline[key]) for key in COMPARED},
    }


def print_table(result: dict[str, Any], console: Console) -> None:
    """Print seconds and metrics side by side."""
    table = Table(title=f"{result['n_images']} maps of {result['size']} x {result['size']}")
    for column in ("", "scikit-learn + PRO loop", "bench.metrics", "difference"):
        table.add_column(column, justify="right" if column else "left")
    for key in COMPARED:
        baseline, ours = result["baseline"][key], result["ours"][key]
        table.add_row(key, f"{100 * baseline:.4f}", f"{100 * ours:.4f}", f"{abs(ours - baseline):.1e}")
    for key in ("pro_exact", "pro_05"):
        table.add_row(key, "-", f"{100 * result['ours'][key]:.4f}", "-")
    seconds = result["seconds"]
    table.add_row(
        "seconds",
        f"{seconds['sklearn']:.1f} + {seconds['pro_loop']:.1f}",
        f"{seconds['ours']:.2f}",
        f"{result['ratio']:.0f}x faster",
    )
    console.print(table)
