"""The same picture in every kind of file that phones, cameras and drawing programs make.

The picture is 4 x 3 flat tiles, so that every decoder's answer is known beforehand: a tile's
centre has its colour, whatever is rounded at the edges, and turning, mirroring or a missing
channel shows. `pictures` gives the files with what they must look like.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

COLUMNS, ROWS = 4, 3
TILE = 16  # one MCU of a JPEG with halved chroma, so that no tile bleeds into another
LARGE_TILE = 128  # large enough for a decode at 1/8

COLOURS = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]],
        [[0, 0, 0], [128, 128, 128], [200, 150, 120], [20, 60, 90]],
        [[255, 255, 0], [0, 200, 200], [120, 30, 160], [77, 140, 33]],
    ],
    np.uint8,
)
GREYS = np.array([[0, 23, 46, 69], [92, 115, 138, 161], [184, 207, 230, 255]], np.uint8)
ALPHAS = np.array([[255, 128, 0, 64], [200, 17, 255, 240], [90, 254, 1, 160]], np.uint8)
BITS = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1]], np.uint8)
BLACKS = np.array([[0, 51, 102, 0], [153, 0, 204, 51], [0, 255, 25, 0]], np.uint8)

# How far, in levels of 255, a tile's centre may be from its colour.
EXACT = 0
# YCbCr in full range, flat blocks: Y, Cb and Cr are rounded by half a level each, blue takes 1.772
# times Cb's error, and is rounded itself: 0.5 + 0.886 + 0.5 < 2. At quality 95, an eighth of the
# DC step of 2 or 3 adds another 0.2 to each; in all below 2.6, so whole levels differ by 2.
YCC = 2
# No colour transform, only the quantised DC: its step of 2 is a quarter of a level.
DC = 1
# YCbCr in the video range 16..235: half a step of Y is 0.58 levels, of Cb 1.772 * 0.57 = 1.0,
# rounding 0.5, and the encoder's own quantiser, at the qualities used here, up to a step of each.
VIDEO = 4


@dataclass(frozen=True)
class Picture:
    """One file.

    Attributes:
        content: Its bytes.
        pixels: uint8 RGB [H, W, 3], what it shows when upright.
        tolerance: Levels of 255 by which the centre of a tile may differ.
    """

    content: bytes
    pixels: np.ndarray
    tolerance: int = EXACT


def tiles(values: np.ndarray, tile: int = TILE) -> np.ndarray:
    """[3, 4, ...] to [3 * tile, 4 * tile, ...]."""
    return values.repeat(tile, axis=0).repeat(tile, axis=1)


RGB = tiles(COLOURS)
GREY = tiles(GREYS)
BILEVEL = tiles(BITS)
PALETTE = tiles(np.arange(COLUMNS * ROWS, dtype=np.uint8).reshape(ROWS, COLUMNS))
RGBA = tiles(np.concatenate([COLOURS, ALPHAS[..., None]], axis=-1))
CMYK = tiles(np.concatenate([255 - COLOURS, BLACKS[..., None]], axis=-1))


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=-1)


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha[..., None].astype(float)
    return np.floor((colour * a + 255.0 * (255 - a)) / 255 + 0.5).astype(np.uint8)


def from_cmyk(cmyk: np.ndarray) -> np.ndarray:
    """Ink on white paper: (1 - c) * (1 - k), rounded as whole levels are."""
    light = 255.0 - cmyk
    return np.clip(np.floor(light[..., 3:] - light[..., 3:] * cmyk[..., :3] / 255 + 0.5), 0, 255
                   ).astype(np.uint8)  # fmt: skip


def two_level(bits: np.ndarray) -> np.ndarray:
    return as_rgb(bits * np.uint8(255))


def save(image: Image.Image | np.ndarray, format_: str, **options: object) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def scene(height: int = 240, width: int = 360) -> np.ndarray:
    """A smooth picture whose corners differ: red grows to the right, green downwards."""
    y, x = np.mgrid[0:1:height*1j, 0:1:width*1j]  # fmt: skip
    return np.stack([x * 255, y * 255, np.full_like(x, 60)], axis=-1).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def grey(value: int) -> np.ndarray:
    return np.full((10, 20, 3), value, np.uint8)


@functools.cache
def pictures() -> dict[str, Picture]:
    """All files that can be made with what is installed, by a name that says what they are."""
    return dict(itertools.chain(_jpeg(), _png(), _webp(), _bmp(), _gif(), _tiff(), _ppm(),
                                _avif(), _heic()))  # fmt: skip


def _jpeg() -> Iterator[tuple[str, Picture]]:
    for size, tile in (("", TILE), (" large", LARGE_TILE)):
        rgb, grey = tiles(COLOURS, tile), tiles(GREYS, tile)
        jpeg = functools.partial(save, format_="JPEG", quality=95)
        for orientation in range(1, 9):
            stored = lay(rgb, orientation)
            content = jpeg(stored, exif=_exif(orientation))
            yield f"jpeg orientation {orientation}{size}", Picture(content, rgb, YCC)
        yield f"jpeg{size}", Picture(jpeg(rgb), rgb, YCC)
        yield f"jpeg 4:4:4{size}", Picture(jpeg(rgb, subsampling=0), rgb, YCC)
        yield f"jpeg progressive{size}", Picture(jpeg(rgb, progressive=True), rgb, YCC)
        yield f"jpeg grey{size}", Picture(jpeg(grey), as_rgb(grey), DC)
        yield f"jpeg rgb{size}", Picture(jpeg(rgb, keep_rgb=True), rgb, DC)
        restarts = jpeg(rgb, restart_marker_blocks=2)
        yield f"jpeg restart markers{size}", Picture(restarts, rgb, YCC)
        cmyk = tiles(np.concatenate([255 - COLOURS, BLACKS[..., None]], axis=-1), tile)
        inked = from_cmyk(cmyk)
        content = jpeg(Image.fromarray(cmyk, "CMYK"))
        # 1 for the inks as in DC, 1 for the blacks, which multiply.
        yield f"jpeg cmyk{size}", Picture(content, inked, DC + 1)
        yield f"jpeg ycck{size}", Picture(ycck(cmyk), inked, YCC + 1)
        content = jpeg(rgb) + b"\0\0\0\x18ftypmp42" + bytes(5000)
        yield f"jpeg with a film behind it{size}", Picture(content, rgb, YCC)
        depth = Image.fromarray(grey[::2, ::2])
        mpo = save(rgb, "MPO", quality=95, save_all=True, append_images=[depth])
        yield f"mpo{size}", Picture(mpo, rgb, YCC)


def ycck(cmyk: np.ndarray) -> bytes:
    """A JPEG as Adobe's programs write it: complements of the inks, as YCbCr and K.

    libjpeg gives ``C = 255 - R(YCbCr)`` and K as it is; what it gives are, in Adobe's files,
    complements of the inks.
    """
    ycc = Image.fromarray(cmyk[..., :3]).convert("YCbCr")
    stored = np.concatenate([np.asarray(ycc), 255 - cmyk[..., 3:]], axis=-1)
    # Pillow stores complements too, so it is given the complement of what is to be stored.
    content = save(Image.fromarray(255 - stored, "CMYK"), "JPEG", quality=95)
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    return content[:transform] + b"\2" + content[transform + 1 :]


def lay(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The rows as a camera stores them that was held that way: undone by the EXIF orientation.

    EXIF names where the stored row 0 and column 0 are in the upright picture.
    """
    return {
        1: pixels,  # top, left
        2: pixels[:, ::-1],  # top, right
        3: pixels[::-1, ::-1],  # bottom, right
        4: pixels[::-1],  # bottom, left
        5: pixels.transpose(1, 0, 2),  # left, top
        6: pixels.transpose(1, 0, 2)[::-1],  # right, top
        7: pixels.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
        8: pixels.transpose(1, 0, 2)[:, ::-1],  # left, bottom
    }[orientation]


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _png() -> Iterator[tuple[str, Picture]]:
    rgb16, grey16 = RGB.astype(np.uint16) * 256 + 200, GREY.astype(np.uint16) * 256 + 99
    alpha16 = RGBA[..., 3].astype(np.uint16) * 257
    rgba16 = np.concatenate([rgb16, alpha16[..., None]], axis=-1)
    grey_alpha = np.stack([GREY, RGBA[..., 3]], axis=-1)
    grey_alpha16 = np.stack([grey16, alpha16], axis=-1)
    rgb_over_white = over_white(RGBA[..., :3], RGBA[..., 3])
    grey_over_white = over_white(as_rgb(GREY), RGBA[..., 3])
    table = COLOURS.reshape(-1, 3).tobytes()
    palette_alpha = over_white(RGBA[..., :3], RGBA[..., 3])
    grey, colour, palette, with_alpha = 0, 2, 3, 4

    yield "png", Picture(save(RGB, "PNG"), RGB)
    yield "png grey", Picture(png(GREY, 8, grey), as_rgb(GREY))
    yield "png 1 bit", Picture(png(BILEVEL, 1, grey), two_level(BILEVEL))
    yield "png 4 bits", Picture(png(GREY // 16, 4, grey), as_rgb(GREY // 16 * 17))
    yield "png grey 16 bits", Picture(png(grey16, 16, grey), as_rgb(GREY))
    yield "png 16 bits", Picture(png(rgb16, 16, colour), RGB)
    yield "png rgba", Picture(png(RGBA, 8, colour | with_alpha), rgb_over_white)
    yield "png rgba 16 bits", Picture(png(rgba16, 16, colour | with_alpha), rgb_over_white)
    yield "png grey and alpha", Picture(png(grey_alpha, 8, with_alpha), grey_over_white)
    yield (
        "png grey and alpha 16 bits",
        Picture(png(grey_alpha16, 16, with_alpha), grey_over_white),
    )
    yield "png palette", Picture(png(PALETTE, 8, palette, PLTE=table), RGB)
    yield "png palette 4 bits", Picture(png(PALETTE, 4, palette, PLTE=table), RGB)
    yield (
        "png palette and alpha",
        Picture(png(PALETTE, 8, palette, PLTE=table, tRNS=ALPHAS.tobytes()), palette_alpha),
    )
    # One colour of the picture is declared transparent.
    hidden = (PALETTE == 6)[..., None]
    yield (
        "png transparent colour",
        Picture(png(RGB, 8, colour, tRNS=struct.pack(">3H", *COLOURS[1, 2])),
                np.where(hidden, 255, RGB).astype(np.uint8)),
    )  # fmt: skip
    yield (
        "png transparent colour 16 bits",
        Picture(png(rgb16, 16, colour, tRNS=struct.pack(">3H", *rgb16[24, 40].tolist())),
                np.where(hidden, 255, RGB).astype(np.uint8)),
    )  # fmt: skip
    yield (
        "png transparent grey",
        Picture(png(GREY, 8, grey, tRNS=struct.pack(">H", GREYS[1, 2])),
                np.where(hidden, 255, as_rgb(GREY)).astype(np.uint8)),
    )  # fmt: skip
    yield (
        "png transparent grey 16 bits",
        Picture(png(grey16, 16, grey, tRNS=struct.pack(">H", int(grey16[24, 40]))),
                np.where(hidden, 255, as_rgb(GREY)).astype(np.uint8)),
    )  # fmt: skip
    yield "png interlaced", Picture(png(RGB, 8, colour, interlaced=True), RGB)
    yield (
        "png interlaced rgba 16 bits",
        Picture(png(rgba16, 16, colour | with_alpha, interlaced=True), rgb_over_white),
    )
    turned = save(np.ascontiguousarray(lay(RGB, 6)), "PNG", exif=_exif(6))
    yield "png orientation 6", Picture(turned, RGB)
    second = Image.fromarray(255 - RGB)
    yield "apng", Picture(save(RGB, "PNG", save_all=True, append_images=[second]), RGB)


# First row, first column, step of rows, step of columns of each pass.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
          (1, 0, 2, 1))  # fmt: skip


def png(
    samples: np.ndarray, depth: int, kind: int, *, interlaced: bool = False, **chunks: bytes
) -> bytes:
    """A PNG of any kind; Pillow writes no 16-bit colour and nothing interlaced.

    Args:
        samples: [H, W] or [H, W, channels], each below 2 ** depth.
        depth: Bits a sample.
        kind: PNG's colour type.
        interlaced: Whether rows come in the seven passes of Adam7.
        chunks: More chunks, to stand before the pixels.
    """
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in _ADAM7] if interlaced else [samples]
    raw = b"".join(b"\0" + _packed(row, depth) for part in passes for row in part)
    header = struct.pack(">2I5B", samples.shape[1], samples.shape[0], depth, kind, 0, 0, interlaced)
    body = {"IHDR": header, **chunks, "IDAT": zlib.compress(raw), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(k.encode(), v) for k, v in body.items())


def png_chunk(name: bytes, payload: bytes) -> bytes:
    check = zlib.crc32(name + payload)
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", check)


def _packed(row: np.ndarray, depth: int) -> bytes:
    """One row of samples, the most significant bit first."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def _webp() -> Iterator[tuple[str, Picture]]:
    yield "webp", Picture(save(RGB, "WEBP", quality=95), RGB, VIDEO)
    yield "webp lossless", Picture(save(RGB, "WEBP", lossless=True), RGB)
    shown = over_white(RGBA[..., :3], RGBA[..., 3])
    yield "webp alpha", Picture(save(RGBA, "WEBP", lossless=True, exact=True), shown)
    second = Image.fromarray(255 - RGB)
    animated = save(RGB, "WEBP", lossless=True, save_all=True, append_images=[second])
    yield "webp animated", Picture(animated, RGB)
    stored = np.ascontiguousarray(lay(RGB, 6))
    turned = save(stored, "WEBP", lossless=True, exif=_exif(6))
    yield "webp orientation 6", Picture(turned, RGB)


def _bmp() -> Iterator[tuple[str, Picture]]:
    yield "bmp", Picture(save(RGB, "BMP"), RGB)
    yield "bmp 32 bits", Picture(bmp(np.pad(RGB[::-1, :, ::-1], ((0, 0), (0, 0), (0, 1))), 32), RGB)
    yield "bmp top-down", Picture(bmp(RGB[:, :, ::-1], 24, top_down=True), RGB)
    table = np.pad(COLOURS.reshape(-1, 3)[:, ::-1], ((0, 0), (0, 1)))
    yield "bmp palette", Picture(bmp(PALETTE[::-1], 8, table), RGB)
    nibbles = PALETTE[::-1, ::2] << 4 | PALETTE[::-1, 1::2]
    yield "bmp palette 4 bits", Picture(bmp(nibbles, 4, table), RGB)
    yield "bmp 1 bit", Picture(save(Image.fromarray(BILEVEL * 255).convert("1"), "BMP"),
                               two_level(BILEVEL))  # fmt: skip
    shown = over_white(RGBA[..., :3], RGBA[..., 3])
    yield (
        "bmp rgba",
        Picture(bmp(RGBA[::-1], 32, masks=(0xFF, 0xFF00, 0xFF0000, 0xFF000000)), shown),
    )
    fives = RGB >> 3
    words = (fives.astype(np.uint16) << np.array([10, 5, 0], np.uint16)).sum(-1).astype("<u2")
    shown = (fives.astype(int) * 255 // 31).astype(np.uint8)
    yield "bmp 16 bits", Picture(bmp(words[::-1], 16), shown)


def bmp(
    rows: np.ndarray,
    depth: int,
    table: np.ndarray | None = None,
    *,
    top_down: bool = False,
    masks: tuple[int, ...] = (),
) -> bytes:
    """A BMP without compression, from rows that are stored as they come.

    Args:
        rows: Of any type; together they are the file's pixels.
        depth: Bits a pixel.
        table: Palette uint8 [colours, 4], as blue, green, red and nothing.
        top_down: Whether the first row is the top one.
        masks: Where red, green, blue and alpha are in a pixel; then the header is of version 4.
    """
    pixels, colours = rows.tobytes(), b"" if table is None else table.astype(np.uint8).tobytes()
    height = len(rows)
    width = len(pixels) * 8 // depth // height
    more = struct.pack("<4I", *masks) + bytes(52) if masks else b""
    start = 14 + 40 + len(more) + len(colours)
    file = struct.pack("<2sIII", b"BM", start + len(pixels), 0, start)
    info = struct.pack("<IiiHHIIiiII", 40 + len(more), width, -height if top_down else height, 1,
                       depth, 3 * bool(masks), len(pixels), 2835, 2835, len(colours) // 4,
                       0)  # fmt: skip
    return file + info + more + colours + pixels


def _gif() -> Iterator[tuple[str, Picture]]:
    image = Image.fromarray(PALETTE, "P")
    image.putpalette(COLOURS.tobytes())
    other = Image.new("RGB", image.size, (9, 8, 7))
    yield "gif", Picture(save(image, "GIF"), RGB)
    yield "gif animated", Picture(save(image, "GIF", save_all=True, append_images=[other]), RGB)
    shown = np.where((PALETTE == 6)[..., None], 255, RGB).astype(np.uint8)
    yield "gif transparent", Picture(save(image, "GIF", transparency=6), shown)
    yield (
        "gif animated transparent",
        Picture(save(image, "GIF", transparency=6, save_all=True, append_images=[other]), shown),
    )


def _tiff() -> Iterator[tuple[str, Picture]]:
    rgb = Image.fromarray(RGB)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"tiff {compression}", Picture(save(rgb, "TIFF", compression=compression), RGB)
    yield "tiff jpeg", Picture(save(rgb, "TIFF", compression="jpeg", quality=95), RGB, DC)
    yield "tiff", Picture(save(rgb, "TIFF"), RGB)
    cmyk = Image.fromarray(CMYK, "CMYK")
    yield "tiff cmyk", Picture(save(cmyk, "TIFF", compression="tiff_lzw"), from_cmyk(CMYK))
    other = Image.fromarray(255 - RGB[:20])
    yield "tiff two pages", Picture(save(rgb, "TIFF", save_all=True, append_images=[other]), RGB)
    bits = Image.fromarray(BILEVEL * 255).convert("1")
    yield "tiff fax", Picture(save(bits, "TIFF", compression="group4"), two_level(BILEVEL))
    yield "tiff rgba", Picture(save(RGBA, "TIFF"), over_white(RGBA[..., :3], RGBA[..., 3]))
    grey16 = GREY.astype(np.uint16) * 256 + 99
    rgb16 = RGB.astype(np.uint16) * 256 + 200
    for order, letters in (("<", "little"), (">", "big")):
        yield f"tiff grey 16 bits {letters}", Picture(tiff(grey16, order), as_rgb(GREY))
        yield f"tiff 16 bits {letters}", Picture(tiff(rgb16, order), RGB)
    yield "tiff tiled", Picture(tiff(RGB, "<", tiled=True), RGB)
    for orientation in (3, 6):
        stored = lay(RGB, orientation)
        name = f"tiff orientation {orientation}"
        yield name, Picture(tiff(stored, ">", orientation=orientation), RGB)
        lzw = save(np.ascontiguousarray(stored), "TIFF", compression="tiff_lzw",
                   tiffinfo={0x0112: orientation})  # fmt: skip
        yield f"{name} lzw", Picture(lzw, RGB)


def tiff(
    pixels: np.ndarray,
    order: str = "<",
    *,
    orientation: int = 1,
    tiled: bool = False,
    bits: int | None = None,
    photometric: int | None = None,
    more: Mapping[int, Sequence[int]] | None = None,
) -> bytes:
    """A TIFF without compression; Pillow writes no 16-bit colour and no tiles.

    Args:
        pixels: uint8 or uint16, [H, W] or [H, W, 3].
        order: Byte order, ``<`` or ``>``.
        orientation: As in EXIF.
        tiled: In tiles of 16 x 16 instead of one strip; the sides are multiples of 16.
        bits: BitsPerSample where `pixels` are bytes of packed samples; `pixels` has the width that
            they take.
        photometric: PhotometricInterpretation; None for RGB or BlackIsZero.
        more: Further tags, of whole numbers below 2**32.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    stored = pixels.astype(pixels.dtype.newbyteorder(order))
    if tiled:
        parts = [stored[y : y + 16, x : x + 16].tobytes()
                 for y in range(0, height, 16) for x in range(0, width, 16)]  # fmt: skip
    else:
        parts = [stored.tobytes()]
    offsets = [8, *itertools.accumulate((len(part) for part in parts), initial=8)][1:-1]
    short, long = "H", "I"
    tags: list[tuple[int, str, list[int]]] = [
        (256, long, [width * 8 // bits if bits else width]),
        (257, long, [height]),
        (258, short, [bits or pixels.itemsize * 8] * channels),
        (259, short, [1]),
        (262, short, [(2 if channels == 3 else 1) if photometric is None else photometric]),
        (274, short, [orientation]),
        (277, short, [channels]),
        *((number, long, list(values)) for number, values in (more or {}).items()),
    ]
    if tiled:
        tags += [(322, short, [16]), (323, short, [16]), (324, long, offsets),
                 (325, long, [len(part) for part in parts])]  # fmt: skip
    else:
        tags += [(273, long, offsets), (278, long, [height]), (279, long, [len(parts[0])])]
    content = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 0)
    content += b"".join(parts)
    entries = b""
    for number, kind, values in sorted(tags):
        payload = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(payload) > 4:
            content, payload = content + payload, struct.pack(f"{order}I", len(content))
        code = {short: 3, long: 4}[kind]
        entries += struct.pack(f"{order}HHI", number, code, len(values)) + payload.ljust(4, b"\0")
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    start = struct.pack(f"{order}I", len(content))
    return content[:4] + start + content[8:] + directory


def _ppm() -> Iterator[tuple[str, Picture]]:
    size = f"{RGB.shape[1]} {RGB.shape[0]}"
    plain = f"P3 {size} 255\n" + "\n".join(" ".join(map(str, p)) for p in RGB.reshape(-1, 3))
    grey16 = (GREY.astype(np.uint16) * 256 + 99).astype(">u2")
    yield "ppm", Picture(save(RGB, "PPM"), RGB)
    yield "ppm text", Picture(plain.encode(), RGB)
    yield "pgm", Picture(save(GREY, "PPM"), as_rgb(GREY))
    yield "pgm 16 bits", Picture(f"P5 {size} 65535\n".encode() + grey16.tobytes(), as_rgb(GREY))
    packed = np.packbits(1 - BILEVEL, axis=1).tobytes()
    yield "pbm", Picture(f"P4 {size}\n".encode() + packed, two_level(BILEVEL))


def _avif() -> Iterator[tuple[str, Picture]]:
    if importlib.util.find_spec("PIL.AvifImagePlugin") is None:
        return
    avif: Callable[..., bytes] = functools.partial(
        save, format_="AVIF", quality=95, subsampling="4:4:4", speed=10, max_threads=1
    )
    yield "avif", Picture(avif(RGB), RGB, VIDEO)
    # A tile is 8 x 8 samples of chroma, and AV1's transforms and filters reach across that.
    yield "avif 4:2:0", Picture(avif(RGB, subsampling="4:2:0"), RGB, 2 * VIDEO)
    shown = over_white(RGBA[..., :3], RGBA[..., 3])
    yield "avif alpha", Picture(avif(RGBA), shown, VIDEO)
    second = Image.fromarray(255 - RGB)
    yield "avif animated", Picture(avif(RGB, save_all=True, append_images=[second]), RGB, VIDEO)
    for orientation in (3, 6):
        stored = np.ascontiguousarray(lay(RGB, orientation))
        content = avif(stored, exif=_exif(orientation))
        yield f"avif orientation {orientation}", Picture(content, RGB, VIDEO)


def _heic() -> Iterator[tuple[str, Picture]]:
    if importlib.util.find_spec("pillow_heif") is None:
        return
    import pillow_heif

    def heic(*arrays: np.ndarray, exif: Image.Exif | None = None) -> bytes:
        file = pillow_heif.HeifFile()
        for array in arrays:
            file.add_from_pillow(Image.fromarray(np.ascontiguousarray(array)))
        buffer = io.BytesIO()
        file.save(buffer, quality=95, chroma=444, exif=exif and exif.tobytes(), primary_index=0)
        return buffer.getvalue()

    yield "heic", Picture(heic(RGB), RGB, VIDEO)
    yield "heic two pictures", Picture(heic(RGB, 255 - RGB), RGB, VIDEO)
    shown = over_white(RGBA[..., :3], RGBA[..., 3])
    yield "heic alpha", Picture(heic(RGBA), shown, VIDEO)
    for orientation in (3, 6):
        content = heic(lay(RGB, orientation), exif=_exif(orientation))
        yield f"heic orientation {orientation}", Picture(content, RGB, VIDEO)
