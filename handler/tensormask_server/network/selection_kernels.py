"""Greedy non-maximum suppression by two kernels of a GPU (docs/NETWORK.md, section 7).

The first finds which locations drop which, 64 in a thread. The second walks through the locations of an image in one
thread, since which of them are kept depends on those before. `batched_selection.py` does the same by operations of
torch and on the host.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.detection import Selection
from tensormask_server.network.kernels import Kernels, blocks_for
from tensormask_server.network.transfers import to_device

WORD = 64  # bits
# a product and an addition in one step would round differently than torch's operations
OPTIONS = ("--fmad=false",)

SOURCE = r"""
typedef unsigned long long word;
struct __align__(16) Box { float x0, y0, x1, y1; };

// Bit j % 64 of word j / 64 of row i: i drops j, a later location of its class, if i is kept. A thread is of one word.
extern "C" __global__ void overlaps(
    const Box* boxes, const long long* classes, const float* thresholds, word* drops, long long num, long long count)
{
    const long long words = (count + 63) / 64;
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= num * count * words) return;
    const long long first = thread % words * 64, i = thread / words % count, image = thread / words / count;
    const Box box = boxes[image * count + i];
    const float area = (box.x1 - box.x0) * (box.y1 - box.y0);
    const long long of_class = classes[image * count + i];
    word bits = 0;
    const int stop = min(64, (int)(count - first));
    for (int bit = max(0, (int)(i + 1 - first)); bit < stop; ++bit) {
        const long long j = image * count + first + bit;
        if (classes[j] != of_class) continue;
        const Box other = boxes[j];
        const float width = fmaxf(fminf(box.x1, other.x1) - fmaxf(box.x0, other.x0), 0.0f);
        const float height = fmaxf(fminf(box.y1, other.y1) - fmaxf(box.y0, other.y0), 0.0f);
        const float intersection = width * height;
        const float both = (area + (other.x1 - other.x0) * (other.y1 - other.y0)) - intersection;
        // an IoU above the threshold, written without a division that two empty boxes would make 0/0
        if (intersection > both * thresholds[image]) bits |= (word)1 << bit;
    }
    drops[thread] = bits;
}

// Block i is of image i, and only its first thread works. The scores fall; there are at most 1024.
extern "C" __global__ void keep(
    const float* scores, const float* least, const word* drops, const long long* most, long long* kept,
    long long* num_kept, long long count, long long row)
{
    if (threadIdx.x) return;
    const long long image = blockIdx.x, words = (count + 63) / 64;
    word dropped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    long long number = 0;
    for (long long i = 0; i < count && number < most[image]; ++i) {
        if (dropped[i / 64] >> (i % 64) & 1) continue;
        if (!(scores[image * count + i] > least[image])) break;
        kept[image * row + number++] = i;
        const word* of_location = drops + (image * count + i) * words;
        for (int k = 0; k < 16; ++k)
            if (k < words) dropped[k] |= of_location[k];
    }
    num_kept[image] = number;
}
"""


def kept_by_kernels(
    scores: Tensor, classes: Tensor, boxes: Tensor, selections: Sequence[Selection], kernels: Kernels
) -> tuple[Tensor, Tensor]:
    """Suppresses the locations of each image.

    Args:
        scores: float32 (N, n), falling, n at most 1024.
        classes: int64 (N, n).
        boxes: float32 (N, n, 4).
        selections: one per image.
        kernels: of SOURCE.

    Returns:
        int64 (N, max_detections): the indices of those kept, rising; then undefined numbers. And int64 (N,): how many.
    """
    num, count = scores.shape
    most = [each.max_detections for each in selections]
    nms = np.array([each.nms_threshold for each in selections], np.float32)
    least = np.array([each.score_threshold for each in selections], np.float32)
    most_there, nms_there, least_there = to_device([np.array(most, np.int64), nms, least], scores.device)
    drops = torch.empty(num, count, -(-count // WORD), dtype=torch.int64, device=scores.device)
    kept = torch.empty(num, max(most), dtype=torch.int64, device=scores.device)
    num_kept = torch.empty(num, dtype=torch.int64, device=scores.device)
    scores, classes, boxes = (each.contiguous() for each in (scores, classes, boxes))
    overlapping = boxes, classes, nms_there, drops, num, count
    kernels.launch("overlaps", (blocks_for(drops.numel()), 1), overlapping)
    kernels.launch("keep", (num, 1), (scores, least_there, drops, most_there, kept, num_kept, count, kept.shape[1]))
    return kept, num_kept
