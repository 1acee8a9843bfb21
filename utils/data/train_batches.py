"""Batches for training: mosaics and single images, randomly warped, mixed and coloured.

A batch is made at once: the geometry of all its pictures in one calculation, every image decoded once however many
mosaics show it, the pixels written straight into the tensor that the network gets.
"""

import numpy as np

from utils.data.batch import Batch, as_images, as_targets, new_pixels, normalize_boxes
from utils.data.image_store import ImageStore
from utils.data.mosaic.augment import AugmentConfig
from utils.data.mosaic.composition import Composition, compose, number_count
from utils.data.mosaic.copy_paste import Copies, copy_paste
from utils.data.mosaic.drawing import Painter, plan_drawing
from utils.data.mosaic.perspective import warp_labels
from utils.data.mosaic.ragged import Ragged
from utils.data.mosaic.tiles import Objects, partners, place_objects
from utils.data.mosaic.transforms._contract import Sample, Step, build_transforms
from utils.data.mosaic.transforms._listed import build_listed
from utils.data.order import Members, Order, own_part
from utils.data.rng import Stream, generator
from utils.data.scan.scan_result import ScanResult

MIXUP_BETA = (32.0, 32.0)


class TrainBatches:
    """Batch (epoch, i) of a data set: a function of the seed and these two numbers, as ``order`` must be.

    Of several processes each makes its ``part`` (number, parts): all plan the whole batch and paint their own samples,
    so that together they have those of one process.
    """

    def __init__(
        self,
        scan: ScanResult,
        store: ImageStore,
        order: Order,
        augment: AugmentConfig,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.part = part
        self.store, self.order, self.augment, self.seed = store, order, augment, seed
        self.labels = Ragged.join(scan.labels, 5)
        polygons = [polygon for image in scan.segments for polygon in image]
        self.polygons = Ragged.join(polygons, 2) if any(map(len, polygons)) else None
        assert self.polygons is None or len(polygons) == len(self.labels.values), "a polygon, or none, for each row"
        self.transforms = self._build_transforms()
        self._painter = Painter(store.pixels)

    def _build_transforms(self) -> list[Step]:
        augment, pixels = self.augment, self.store.pixels
        if augment.transforms is None:
            return build_transforms(augment.transform_values, pixels)
        return build_listed(augment.transforms, "hyper-parameters", pixels, self.order.members(0, 0).shape)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        # what is on the pictures, and where
        epoch, batch = key
        members = self.order.members(epoch, batch)
        positions = members.positions
        composition = self._compose(members, epoch, batch)
        objects = place_objects(composition.layout, self.labels, self.polygons)

        # objects copied within their pictures
        copies, augment = Copies.none(), self.augment.at(epoch)
        if augment.copy_paste and self.polygons is not None:
            turn = np.arange(len(composition.sample)) >= len(positions)  # of a sample's pictures
            indices = 2 * (positions.start + composition.sample) + turn
            rngs = [generator(self.seed, epoch, index, Stream.PASTE) for index in indices.tolist()]
            objects, copies = copy_paste(composition.layout, objects, augment.copy_paste, rngs)

        # pixels; where two pictures make a sample, the share of the first is drawn
        first_share = np.ones(len(positions))  # of a sample's first picture
        for sample in composition.sample[len(positions) :].tolist():
            first_share[sample] = generator(self.seed, epoch, positions[sample], Stream.MIXUP).beta(*MIXUP_BETA)
        drawing = plan_drawing(composition, copies, self.store.stored_sizes)
        part = own_part(len(positions), *self.part)
        images = new_pixels(len(part), drawing.shape, self.store.pixels)
        pixels = self._painter.paint(drawing, composition.sample, first_share, self.store.load, images.numpy(), part)

        # colours and other changes of the finished samples, one by one
        labels = picture_labels(composition, objects)[part.start : part.stop]
        for slot, position in enumerate(positions[part.start : part.stop]):
            rng = generator(self.seed, epoch, position, Stream.TRANSFORMS)
            labels[slot] = self._transform(pixels[slot], labels[slot], rng)
        paths = [self.store.paths[index] for index in members.images[part.start : part.stop].tolist()]
        return Batch(as_images(images), as_targets(labels), paths, shapes=None)

    def _compose(self, members: Members, epoch: int, batch: int) -> Composition:
        own, positions, shape = members
        rng = generator(self.seed, epoch, batch, Stream.PARTNERS)
        augment = self.augment.at(epoch)
        mosaics, pool = partners(own, len(self.store), int(augment.mosaic_pool), rng, self.order.draw)
        count = number_count(augment)
        rows = [generator(self.seed, epoch, position, Stream.GEOMETRY).random(count) for position in positions]
        return compose(own, mosaics, pool, self.store.sizes, augment, shape, np.stack(rows))

    def _transform(self, pixels: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply the transforms to ``pixels`` (H, W, C), in place, and return the labels."""
        sample = Sample(pixels, labels)
        for transform in self.transforms:
            sample = transform(sample, rng)
        if sample.image is not pixels:
            pixels[...] = sample.image
        return sample.labels


def picture_labels(composition: Composition, objects: Objects) -> list[np.ndarray]:
    """Return the labels (n, 5) [class, cx, cy, w, h] of every sample, without what the warp has hidden."""
    picture = composition.layout.picture[objects.tile]
    matrices, scale = composition.matrix[picture], composition.scale[picture]
    boxes, kept = warp_labels(objects.boxes, objects.polygons, matrices, scale, composition.shape[::-1])
    sample = composition.sample[picture][kept]
    boxes = normalize_boxes(boxes[kept], composition.shape)
    boxes[:, :2] = np.where(composition.flip[sample], 1 - boxes[:, :2], boxes[:, :2])
    order = np.argsort(sample, kind="stable")
    table = np.concatenate([objects.classes[kept, None], boxes], 1)[order]
    return np.split(table, np.searchsorted(sample[order], np.arange(1, len(composition.flip))))
