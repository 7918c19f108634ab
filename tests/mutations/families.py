"""All kinds of input that are damaged, by name."""

from mutations import (
    coco_files,
    image_files,
    label_folders,
    model_files,
    result_files,
    sbd_folders,
    weight_files,
)

FAMILIES = {
    "coco": coco_files.COCO, "results": result_files.RESULTS, "labels": label_folders.LABEL_FOLDERS,
    "sbd": sbd_folders.SBD, "images": image_files.IMAGES, **weight_files.WEIGHTS,
    "models": model_files.MODELS, "configs": model_files.CONFIGS,
    "overrides": model_files.OVERRIDES}
