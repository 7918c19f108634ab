"""All kinds of input that are damaged, by name."""

from mutations import coco_files, image_files, label_folders, result_files, sbd_folders

FAMILIES = {
    "coco": coco_files.COCO, "results": result_files.RESULTS, "labels": label_folders.LABEL_FOLDERS,
    "sbd": sbd_folders.SBD, "images": image_files.IMAGES}
