"""``DiceHubertTask``: DiceHuBERT as a task of ESPnet, trained by ESPnet's own trainer.

    python -m espnet_dice.training.process dice --config conf/train_dice_narrow_hard.yaml …

Importing this module registers the plug-in's data types, so that processes spawned for several
GPUs know them.
"""

import argparse
import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from zlib import crc32

import torch
from espnet2.tasks.abs_task import AbsTask
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.class_choices import ClassChoices
from espnet2.train.trainer import Trainer
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import int_or_none, str_or_none

from espnet_dice import registry
from espnet_dice.dice import entries, head, start
from espnet_dice.dice.collate import DiceCollate
from espnet_dice.dice.head import HEADS, set_apart
from espnet_dice.dice.heads import LAST, MATCHED, places
from espnet_dice.dice.model import DiceHubertModel
from espnet_dice.hubert.models import students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DiceError
from espnet_dice.io.json_files import read_json
from espnet_dice.records import feature_dir

registry.register_task("espnet2.train.dataset")

model_choices = ClassChoices(
    "model", {"dice_hubert": DiceHubertModel}, type_check=AbsESPnetModel, default="dice_hubert"
)
OURS = {"student", "loss", "n_clusters", "labels", "teacher", "normalized", "heights"}
"""Arguments of the model that have options of their own, or are read with the labels."""
SCHEDULED = ("mask_prob", "masked_weight", "unmasked_weight")
ABSOLUTE = (
    "cosineannealingwarmuprestarts",
    "cycliclr",
    "exponentialdecaywarmup",
    "onecyclelr",
    "piecewiselinearwarmuplr",
)
"""Schedulers that set one learning rate for all parameters, whatever the optimizer was given."""


class DiceTrainer(Trainer):
    """ESPnet's trainer, which stops where ESPnet's would only stop silently."""

    @classmethod
    def train_one_epoch(cls, *, iterator, reporter, **kwargs) -> bool:
        """See ESPnet. Crops are drawn by the epoch, not by each loading process for itself.

        Raises:
            DiceError: no step of the epoch had a finite gradient, or there was none. ESPnet ends
                such a training as if it were complete.
        """
        collate = getattr(iterator, "collate_fn", None)
        if isinstance(collate, DiceCollate):
            collate.epoch = reporter.get_epoch()
        batches = len(iterator) if hasattr(iterator, "__len__") else None
        if super().train_one_epoch(iterator=iterator, reporter=reporter, **kwargs):
            divided = getattr(kwargs.get("options"), "accum_grad", 1)
            if batches is not None and batches < divided:
                raise DiceError(
                    f"an epoch has {batches} batches, fewer than accum_grad, {divided}: no update "
                    "was made; lower accum_grad or batch_bins, or give more speech"
                )
            raise DiceError(
                "no step of this epoch had a finite gradient: lower the learning rate, or use "
                "bfloat16 or float32 (use_amp: false)"
            )
        return False


class DiceHubertTask(AbsTask):
    """Students of any kind, hard, soft and feature losses; data ``speech`` and ``labels``."""

    num_optimizers: int = 1
    class_choices_list = [model_choices]
    trainer = DiceTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the task's options."""
        group = parser.add_argument_group("Task related")
        group.add_argument("--student", default="hubert", help="Kind of the student")
        group.add_argument(
            "--student_conf", action=NestedDictAction, default={}, help="Its configuration"
        )
        group.add_argument(
            "--loss",
            action=NestedDictAction,
            default=[{"name": "dice_hard"}],
            help="List of {name, weight, conf}: dice_hard, dice_soft, dice_feature",
        )
        group.add_argument(
            "--labels",
            type=str_or_none,
            default=None,
            help="Label store of the training set, whose codebook and number of clusters are used",
        )
        group.add_argument(
            "--num_classes",
            type=_clusters,
            default=None,
            help="Number of clusters, where there is no --labels; of several codebooks 100,500",
        )
        group.add_argument(
            "--teacher",
            type=str_or_none,
            default=None,
            help="Teacher that runs beside the student, for dice_feature",
        )
        group.add_argument(
            "--collate_fn_conf",
            action=NestedDictAction,
            default={},
            help="Keyword arguments of DiceCollate: pad, max_frames, random_crop, normalize",
        )
        for choices in cls.class_choices_list:
            choices.add_arguments(group)

    @classmethod
    def check(cls, args: argparse.Namespace) -> None:
        """Refuse a config before anything is started.

        Raises:
            ConfigError: naming the key.
        """
        listed, conf = entries.parse(args.loss), args.model_conf
        numbers = {key: conf[key] for key in SCHEDULED if key in conf}
        masked = entries.schedules(listed, numbers, conf.get("updates")).get("mask_prob")
        if masked and not masked.end and _by_masked_frames(args.best_model_criterion):
            raise ConfigError(
                "model_conf: mask_prob: no frame is masked in validation, and checkpoints are "
                "chosen by acc_m: give best_model_criterion [[valid, acc_u, max]], or by loss"
            )
        for name, _, _ in listed:
            if name == "dice_feature":
                continue
            if args.labels is None and args.num_classes is None:
                raise ConfigError(f"loss: {name} needs the label store's directory (--labels)")
        for key in OURS & set(args.model_conf):
            raise ConfigError(f"model_conf: {key} is an option of its own: --{key}")
        head.check(conf.get("head", HEADS[0]), conf.get("head_lr_factor", 1.0))
        start.check(conf.get("init"))
        DiceCollate(True, **_collate_conf(args))
        if args.model_conf.get("head_lr_factor", 1) != 1 and str(args.scheduler) in ABSOLUTE:
            raise ConfigError(
                f"model_conf: head_lr_factor: scheduler {args.scheduler} gives all parameters one "
                "learning rate: take another one, such as warmuplr"
            )
        # without memory; imports transformers (6 s), which children forked afterwards then have
        with torch.device("meta"):
            student = students.build(args.student, args.student_conf)
        meta = _meta_of(args.labels)
        clusters = args.num_classes if meta is None else meta["clusters"]
        if clusters is not None:
            heights = None if meta is None else meta.get("height")
            number = 1 if isinstance(clusters, int) else len(clusters)
            heads = args.model_conf.get("heads", LAST)
            places(heads, number, len(student.dims) - 1, heights)

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable:
        """Crops in training, whole utterances in validation; see :class:`DiceCollate`."""
        return DiceCollate(
            train and not args.collect_stats,
            n_clusters=args.num_classes,
            seed=args.seed,
            **_collate_conf(args),
        )

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> None:
        """Nothing is done to an utterance before it is cut."""

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """The waveform."""
        return ("speech",)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Labels, of type ``dice_labels`` or ``dice_ids``; feature distillation has none."""
        return ("labels",)

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """ESPnet's optimizer; heads with a learning rate of their own are groups of their own.

        ESPnet calls this where a training begins or goes on (the checkpoint is read later, and has
        what it began with), not where a trained model is used.
        """
        if not (args.resume and (Path(args.output_dir) / "checkpoint.pth").exists()):
            model.begin(lambda frames: _speech(args, frames))
        optimizers = super().build_optimizers(args, model)
        if model.head_lr_factor != 1:
            set_apart(optimizers[0], model.heads.parameters(), model.head_lr_factor)
        return optimizers

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> DiceHubertModel:
        """Build the model, and note in ``args`` all that it takes to do so again elsewhere.

        The config that ESPnet then saves has the number of clusters and the matched layers, so a
        trained student is built without label store and teacher.
        """
        if args.num_classes is None and args.labels is not None:
            from espnet_dice.labels.store import Reader

            args.num_classes = Reader(args.labels).codebook.clusters
        matched = args.model_conf.get("heads") == MATCHED
        model = DiceHubertModel(
            students.build(args.student, args.student_conf),
            args.loss,
            n_clusters=args.num_classes,
            labels=args.labels,
            teacher=args.teacher,
            normalized=bool(args.collate_fn_conf.get("normalize")),
            heights=(_meta_of(args.labels) or {}).get("height") if matched else None,
            **args.model_conf,
        )
        if matched:
            heads = [place.conf() for place in model.places]
            args.model_conf = {**args.model_conf, "heads": heads}
        args.loss = copy.deepcopy(list(args.loss))
        for entry in args.loss:
            term = model.terms[entry["name"]]
            if hasattr(term, "resolved"):
                entry["conf"] = {**(entry.get("conf") or {}), **term.resolved()}
        return model


def _speech(args: argparse.Namespace, frames: int) -> list[torch.Tensor]:
    """Utterances of the training set, chosen by their ids, that have so many frames together.

    Raises:
        DiceError: the set is no dump of waveforms, or a file cannot be read.
    """
    scp, *form = args.train_data_path_and_name_and_type[0]
    if form != ["speech", "sound"]:
        raise ConfigError(
            f"model_conf: init: {args.model_conf['init']} hears training speech, which must come "
            f"first, as FILE,speech,sound, not {','.join([scp, *form])}"
        )
    waves = feature_dir.Waves(feature_dir.load(Path(scp).parent))
    found, heard = [], 0
    for utt in sorted(waves, key=lambda utt: (crc32(utt.encode()), utt)):
        wave = torch.as_tensor(waves[utt], dtype=torch.float32)
        if n_frames(len(wave)):
            found.append(wave)
            heard += n_frames(len(wave))
        if heard >= frames:
            break
    return found


def _by_masked_frames(criteria: Iterable[Sequence[str]]) -> bool:
    return any(statistic.startswith("acc_m") for _, statistic, _ in criteria)


def _clusters(text: str) -> int | list[int] | None:
    """``500``, ``100,500`` or ``none``."""
    if "," in text:
        return [int(one) for one in text.split(",")]
    return int_or_none(text)


def _meta_of(labels: str | None) -> dict | None:
    """What a label store says of itself; None where there is none yet."""
    from espnet_dice.labels import store

    return None if labels is None else read_json(Path(labels) / store.META)


def _collate_conf(args: argparse.Namespace) -> dict:
    known = ("pad", "max_frames", "random_crop", "normalize")
    for key in args.collate_fn_conf:
        if key not in known:
            raise ConfigError(f"collate_fn_conf: no key {key!r}; its keys: {', '.join(known)}")
    return args.collate_fn_conf
