"""Tell by the class names in a pickled checkpoint which other project wrote it; the names are read, never looked up."""

import re

OTHER_TASKS = {  # of the ultralytics package, by the class of the model
    "SegmentationModel": "segmentation",
    "PoseModel": "pose estimation",
    "OBBModel": "oriented boxes",
    "ClassificationModel": "classification",
    "WorldModel": "detection prompted by text",
    "RTDETRDetectionModel": "detection with RT-DETR's transformer",
    "YOLOv10DetectionModel": "detection without suppression, as YOLOv10",
}
PROJECTS = (  # what it is, how the full names of its classes look; the first that matches counts
    *((f"a model for {task}", rf"ultralytics\.nn\.tasks\.{name}") for name, task in OTHER_TASKS.items()),
    ("a model of the ultralytics package with other parts than YOLOv8 and YOLO11", r"ultralytics\..*"),
    ("a YOLOv6 model", r"yolov6\..*"),
    ("a YOLOX model", r"yolox\..*"),
    ("a YOLO-NAS model", r"super_gradients\..*"),
    ("a YOLOv9 model", r"models\.(yolo\.(Dual|Triple)?DDetect|common\.(RepNCSPELAN4|SPPELAN|ADown|CBLinear|CBFuse))"),
    ("a YOLOv7 model", r"models\.yolo\.(IDetect|IAuxDetect|IKeypoint|IBin)"),
    ("a YOLOv7 model", r"models\.common\.(ImplicitA|ImplicitM|SPPCSPC|MP|SP|ReOrg)"),
    ("a Darknet-style model, such as YOLOv3 or YOLOR", r"models\.models\..*|models\.(Darknet|YOLOLayer)"),
    ("a model of OpenMMLab", r"(mmdet|mmcv|mmengine|mmyolo)\..*"),
    ("a model of torchvision", r"torchvision\..*"),
    ("a model of timm", r"timm\..*"),
    ("a model of Transformers", r"transformers\..*"),
)
HEADS = ("Detect", "Keypoint", "Head", "Segment", "Pose", "OBB", "IBin")
_NAMED = re.compile(rb"c([\w.]{1,100})\n([\w.]{1,100})\n")  # how the pickles of torch.save mention a class


def name_project(content: bytes) -> str:
    """Return what a weights file of another project is, with the class of its head if that tells; "" for no project."""
    names = dict.fromkeys(f"{module.decode()}.{name.decode()}" for module, name in _NAMED.findall(content))
    for project, pattern in PROJECTS:
        telling = [name for name in names if re.fullmatch(pattern, name)]
        heads = [name.rpartition(".")[2] for name in telling if name.endswith(HEADS)]
        if telling:
            return f"{project} (its head is {heads[0]})" if heads else project
    return ""
