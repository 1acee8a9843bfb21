"""The flags of ``train.py``."""

from dataclasses import dataclass
from typing import ClassVar

from utils.config import Given, option
from utils.configs.shared import AUTO, BATCH_SIZE, CLASSES_HELP, DEVICE, IMGSZ, NAME_HELP, SEED, WORKERS
from utils.head_names import HEAD_HELP, HEADS
from utils.idle_options import Idle

# titles of --help, in the order of what is changed most often
MODEL_AND_DATA = "what to train"
AMOUNT = "how long and how large"
MACHINE = "where it runs"
RESULTS = "results"
SAMPLES = "augmentation and sampling"
OPTIMIZER = "optimizer"
SEARCH = "several trainings"
INSTEAD = "instead of training"
RARELY = "rarely"

# options that a recipe may set, and what they are where neither it nor the user does
WITHOUT_RECIPE = {"optimizer": "SGD", "backbone_lr": 1.0, "cos_lr": False}


@dataclass(frozen=True)
class TrainConfig(Given):
    """Every flag of ``python train.py``."""

    IDLE: ClassVar[tuple[Idle, ...]] = (
        Idle("save_period", "with --nosave", lambda cfg: not cfg.save),
        Idle(
            "save_period save_steps",
            "with --evolve",
            lambda cfg: cfg.evolve is not None,
            "leave it out",
        ),
        Idle(
            "on_nonfinite",
            "as rollback with --nosave",
            lambda cfg: cfg.on_nonfinite == "rollback" and not (cfg.save or cfg.save_steps) and cfg.evolve is None,
            "add --save-steps, or leave one of them out",
        ),
        Idle("on_nonfinite", "with --evolve", lambda cfg: cfg.evolve is not None),
        Idle("patience", "with --noval, as improvement is seen by validation", lambda cfg: not cfg.val),
        Idle("epochs", "with --time, but as a first guess", lambda cfg: cfg.time is not None),
        Idle(
            "backbone_lr layer_decay",
            "with --freeze backbone",
            lambda cfg: cfg.freeze == ("backbone",) and cfg.unfreeze_epoch is None,
        ),
    )

    cfg: str = option(
        "",
        help="model YAML; without it the model of --weights, or models/yolov5s-emo.yaml",
        group=MODEL_AND_DATA,
    )
    weights: str = option(
        "",
        help="checkpoint to start from, ours or an official .pt of YOLOv5, YOLOv8 or YOLO11; empty = from scratch",
        group=MODEL_AND_DATA,
    )
    backbone: str = option(
        "",
        help="put this backbone into the model: a registered name, timm/NAME, torchvision/NAME or file.py:builder",
        group=MODEL_AND_DATA,
    )
    backbone_weights: str = option(
        "none", help="pretrained weights of --backbone: auto, none, a path or a URL", group=MODEL_AND_DATA
    )
    head: str | None = option(None, help=HEAD_HELP, choices=HEADS, group=MODEL_AND_DATA)
    data: str = option("data/shapes.yaml", help="data-set YAML", group=MODEL_AND_DATA)
    classes: tuple[str, ...] = option((), help=CLASSES_HELP, group=MODEL_AND_DATA)
    hyp: str = option(
        "",
        help="hyper-parameter YAML; without it the data set's own, or the head's: hyp.scratch-low or hyp.yolov8",
        group=MODEL_AND_DATA,
    )
    config: str = option(
        "",
        help="YAML of options, as opt.yaml of a run; flags go before what it says",
        group=MODEL_AND_DATA,
    )
    resume: str | None = option(
        None,
        help="go on with a run: its folder or last.pt, without a value the newest; options may be given to change "
        "how long it takes and where it runs",
        const="",
        group=MODEL_AND_DATA,
    )
    epochs: int = option(
        100, help="passes over the training images; with --resume more of them extend a run", low=1, group=AMOUNT
    )
    time: float | None = option(
        None,
        help="hours that the run may take, in place of --epochs: as many epochs as fit, by the time of those done",
        low=1e-6,
        high=1e6,
        group=AMOUNT,
    )
    batch_size: int = option(
        16,
        help="images per batch, of all processes together; auto or -1: as many as fit into the memory, measured",
        choices={"auto": AUTO},
        **BATCH_SIZE,
        group=AMOUNT,
    )
    imgsz: int | tuple[int, int] = option(
        640,
        help="size of the images in pixels: one number for both sides, or height and width",
        **IMGSZ,
        group=AMOUNT,
    )
    patience: int = option(100, help="epochs without improvement before training stops; 0 = never", low=0, group=AMOUNT)
    device: str = option("", **DEVICE, group=MACHINE)
    workers: int = option(8, **WORKERS, group=MACHINE)
    cache: str | None = option(
        None,
        help="keep decoded images in memory (ram) or on disk; val: those of validation alone, in memory",
        const="ram",
        choices=("ram", "disk", "val"),
        group=MACHINE,
    )
    sync_bn: bool = option(
        False, help="with several processes: batch norms over the images of all of them", group=MACHINE
    )
    amp: bool = option(
        True, help="mixed precision where the hardware has it (bfloat16, or float16 on older GPUs)", group=MACHINE
    )
    compile: bool = option(
        False,
        help="compile the model with torch.compile before it trains: minutes on a CPU, then faster steps",
        group=MACHINE,
    )
    checkpointing: bool = option(
        False,
        help="keep fewer maps in memory, and compute blocks of the model again for their gradients: the same results, "
        "slower steps; docs/memory.md has figures",
        group=MACHINE,
    )
    project: str = option("runs/train", help="folder of the runs", group=RESULTS)
    name: str = option("exp", help=NAME_HELP, group=RESULTS)
    exist_ok: bool = option(False, help="write into the folder even if it exists", group=RESULTS)
    val: bool = option(True, help="validate after every epoch, not only the last", aliases=("--noval",), group=RESULTS)
    save: bool = option(True, help="save after every epoch, not only the last", aliases=("--nosave",), group=RESULTS)
    save_steps: int = option(
        0, help="save last.pt after every N batches too; 0 = at the end of an epoch only", low=0, group=RESULTS
    )
    save_period: int = option(
        -1, help="keep the weights of every so many epochs, as epochN.pt; -1 = never", low=-1, group=RESULTS
    )
    plots: bool = option(True, help="draw plots and pictures", aliases=("--noplots",), group=RESULTS)
    logger: tuple[str, ...] = option(
        (),
        help="give the figures to these too, besides results.csv: tensorboard, mlflow, wandb; without it nothing is "
        "sent anywhere",
        choices=("tensorboard", "mlflow", "wandb"),
        group=RESULTS,
    )
    report: bool = option(True, help="write report.html at the end, one page about the run", group=RESULTS)
    log_weights: bool = option(False, help="give best.pt to the loggers mlflow and wandb at the end", group=RESULTS)
    fitness: str = option(
        "default",
        help="what best.pt and --patience go by: default (0.1 mAP50 + 0.9 mAP50-95), map, map50, recall, f1, or "
        "class:NAME, the mAP50-95 of one class",
        group=RESULTS,
    )
    rect: bool = option(
        False,
        help="rectangular batches: images of similar proportions together, without mosaic, mixup and copy_paste",
        group=SAMPLES,
    )
    quad: bool = option(
        False,
        help="join four images into one of twice the size, or enlarge the first of them; the loss counts four times",
        group=SAMPLES,
    )
    multi_scale: bool = option(
        False, help="a size from half to one and a half times --imgsz for every batch", group=SAMPLES
    )
    image_weights: bool = option(
        False,
        help="draw images by the weight of their objects: rare classes, and those with a low mAP, more often",
        group=SAMPLES,
    )
    single_cls: bool = option(False, help="treat all classes as one", group=SAMPLES)
    optimizer: str | None = option(
        None,
        help="optimizer; without it that of the model's recipe, or SGD",
        choices=("SGD", "Adam", "AdamW"),
        group=OPTIMIZER,
    )
    cos_lr: bool | None = option(
        None,
        help="cosine instead of linear learning-rate schedule; without it as the recipe has it, or linear",
        group=OPTIMIZER,
    )
    backbone_lr: float | None = option(
        None,
        help="learning rate of the backbone as a multiple of the rest's; without it the recipe's, or 1",
        low=1e-6,
        high=1000,
        group=OPTIMIZER,
    )
    layer_decay: float = option(
        1.0,
        help="factor of the backbone's learning rate from one layer to the one before it: 0.75 makes early layers slow",
        low=0.01,
        high=1,
        group=OPTIMIZER,
    )
    clip_grad: float = option(
        10.0,
        help="norm of all gradients together above which they are shrunk to it; 0 = never",
        low=0,
        high=1e6,
        group=OPTIMIZER,
    )
    freeze: tuple[str, ...] = option(
        (), help="rows to freeze: 'backbone', a count N (the first N), or several indices", group=OPTIMIZER
    )
    unfreeze_epoch: int | None = option(
        None,
        help="epoch, from 0, from which on the rows of --freeze train too; without it never",
        low=1,
        group=OPTIMIZER,
    )
    on_nonfinite: str = option(
        "stop",
        help="where a loss or a gradient is not finite: stop, or rollback: go on from last.pt with half the learning "
        "rate, up to three times",
        choices=("stop", "rollback"),
        group=OPTIMIZER,
    )
    label_smoothing: float | None = option(
        None,
        help="how far class targets are from 0 and 1; without it as the hyper-parameters have it",
        low=0,
        high=1,
        group=OPTIMIZER,
    )
    recipe: bool = option(
        True, help="take the training defaults of the model YAML, or of the family of --backbone", group=OPTIMIZER
    )
    evolve: int | None = option(
        None,
        help="search for better hyper-parameters in N trainings, 300 without a number; needs the package optuna",
        const=300,
        low=1,
        group=SEARCH,
    )
    evolve_space: str = option(
        "", help="YAML of the hyper-parameters that --evolve searches; without it augmentation", group=SEARCH
    )
    storage: str = option(
        "",
        help="database for --evolve on several machines, as postgresql://user:password@host/name; without it a file in "
        "the folder of the search",
        group=SEARCH,
    )
    study: str = option("", help="what the search is called in the database of --storage", group=SEARCH)
    seeds: int | None = option(
        None,
        help="train N times, with --seed and the numbers behind it, and tell mean and standard deviation",
        low=2,
        group=SEARCH,
    )
    print_config: bool = option(
        False, help="print every option and hyper-parameter, as YAML, with where it is from, and stop", group=INSTEAD
    )
    dry_run: bool = option(
        False,
        help="train and validate a few batches, tell their times, that of the run and the memory, and stop; no run "
        "folder is made",
        group=INSTEAD,
    )
    show_aug: int | None = option(
        None,
        help="draw the first N pictures of the training as it sees them, with their boxes, beside the images they are "
        "made of; 8 without a number; they are in runs/aug unless --project says otherwise",
        const=8,
        low=1,
        high=1000,
        group=INSTEAD,
    )
    seed: int = option(0, **SEED, group=RARELY)
    autoanchor: bool = option(
        True, help="fit the anchors to the data if they are poor", aliases=("--noautoanchor",), group=RARELY
    )
    local_rank: int = option(-1, help="means nothing; old launchers of several processes give it", low=-1, group=RARELY)
