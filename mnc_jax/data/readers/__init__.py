"""Readers of data sets, one file per format; `data/reader_names.py` has the table of them.

`coco.py` (with `coco_file.py`), `sbd.py` (with `matlab.py`), `label_images.py`, and `shapes.py`
(with `drawing.py`), which needs no files. `layouts.py` finds the annotations of a folder (with
`split_files.py`), and `formats/` converts those of other formats to COCO's. `label_maps.py` turns
images of labels into masks.
"""
