"""Kinds of image files: formats, depths, orientations, pages, damage."""

import functools
import io

import numpy as np
import PIL.Image

from file_kinds.base import Kind, write_coco
from helpers.tiff_files import make_tiff

ORIENTATION = 274
# What a camera stores so that a viewer, following the tag, shows the picture upright.
_STORED = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1)}


def _save(path, picture, *, mode="RGB", **options):
  PIL.Image.fromarray(picture).convert(mode).save(path, **options)


def _save_tagged(path, picture, *, orientation):
  exif = PIL.Image.Exif()
  exif[ORIENTATION] = orientation
  _save(path, np.ascontiguousarray(_STORED[orientation](picture)), exif=exif)


def _save_grey(path, picture, *, dtype, factor):
  grey = picture[..., 0].astype(dtype) * dtype(factor)
  PIL.Image.fromarray(grey).save(path)


def _save_tiff(path, picture, *, copies=1, channels=3, **options):
  page = np.tile(picture, (1, 1, 2))[..., :channels]
  path.write_bytes(make_tiff([page] * copies, **options))


def _save_white_is_zero(path, picture):
  _save_tiff(path, 255 - picture, channels=1, photometric=0)


def _save_animation(path, picture):
  frames = [PIL.Image.fromarray(picture), PIL.Image.fromarray(255 - picture)]
  frames[0].save(path, save_all=True, append_images=frames[1:])


def _save_cut(path, picture):
  content = io.BytesIO()
  PIL.Image.fromarray(picture).save(content, "PNG")
  path.write_bytes(content.getvalue()[:100])


def _save_text(path, picture):
  del picture
  path.write_text("no image")


def _save_heic(path, picture):
  del picture
  path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def _kind(save, expected="read", *, suffix=".png", **options):
  return Kind(functools.partial(write_coco, save=save, suffix=suffix), expected, **options)


def _tagged(orientation, suffix=".jpg"):
  return _kind(functools.partial(_save_tagged, orientation=orientation), suffix=suffix,
               remark="EXIF orientation")


_part = functools.partial
KINDS = {
    "PNG": _kind(_save),
    "PNG, grey": _kind(_part(_save, mode="L")),
    "PNG, palette": _kind(_part(_save, mode="P")),
    "PNG, alpha": _kind(_part(_save, mode="RGBA")),
    "PNG, 16 bits": _kind(_part(_save_grey, dtype=np.uint16, factor=257)),
    "PNG, 12 of 16 bits": _kind(
        _part(_save_grey, dtype=np.uint16, factor=16), remark="range|intensit"),
    "PNG, 12 of 16 bits, stretched": _kind(
        _part(_save_grey, dtype=np.uint16, factor=16), remark="range|intensit",
        data={"stretch_contrast": True}),
    "JPEG": _kind(_part(_save, quality=95), suffix=".jpg"),
    "JPEG, upper case": _kind(_part(_save, quality=95), suffix=".JPG"),
    "JPEG, grey": _kind(_part(_save, mode="L", quality=95), suffix=".jpg"),
    "JPEG, CMYK": _kind(_part(_save, mode="CMYK", quality=95), suffix=".jpg"),
    "JPEG called .png": _kind(_part(_save, format="JPEG", quality=95)),
    "WebP": _kind(_part(_save, lossless=True), suffix=".webp"),
    "BMP": _kind(_save, suffix=".bmp"),
    "GIF": _kind(_save, suffix=".gif"),
    "GIF, animated": _kind(_save_animation, "2 frames", suffix=".gif"),
    "JPEG 2000": _kind(_save, suffix=".jp2"),
    "TIFF": _kind(_save, suffix=".tif"),
    "TIFF, 16 bits": _kind(_part(_save_grey, dtype=np.uint16, factor=257), suffix=".tif"),
    "TIFF, 0 is white": _kind(_save_white_is_zero, suffix=".tif"),
    "TIFF, big-endian, deflated": _kind(
        _part(_save_tiff, order=">", deflate=True, photometric=2), suffix=".tif"),
    "BigTIFF": _kind(_part(_save_tiff, big=True, photometric=2), suffix=".tif"),
    "TIFF, 3 pages": _kind(_part(_save_tiff, copies=3, photometric=2), "3 pages", suffix=".tif"),
    "TIFF, 3 pages, first chosen": _kind(
        _part(_save_tiff, copies=3, photometric=2), suffix=".tif", options=("--page", "1"),
        data={"page": 1}),
    "TIFF, 5 channels": _kind(_part(_save_tiff, channels=5), "5 channels", suffix=".tif"),
    "TIFF, 5 channels, 3 chosen": _kind(
        _part(_save_tiff, channels=5), suffix=".tif", options=("--channels", "1", "2", "3"),
        data={"channels": (1, 2, 3)}),
    **{f"EXIF orientation {number}": _tagged(number) for number in range(2, 9)},
    "EXIF orientation 6, PNG": _tagged(6, ".png"),
    "EXIF orientation 3, WebP": _tagged(3, ".webp"),
    "EXIF orientation 8, TIFF": _tagged(8, ".tif"),
    "HEIC": _kind(_save_heic, "HEIC, which needs", suffix=".heic"),
    "cut off": _kind(_save_cut, r"0\.png"),
    "text called .png": _kind(_save_text, r"0\.png"),
}
