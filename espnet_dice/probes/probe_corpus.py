"""The corpus that systems are probed on, and what the probes are told."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espnet_dice.io import checksums
from espnet_dice.io.audio import SAMPLE_RATE
from espnet_dice.io.datadir import Utterance, read_data_dir
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.fingerprint import digest
from espnet_dice.records import feature_dir

TASKS = ("char", "sid", "kws")


@dataclass(frozen=True)
class Settings:
    """What the probes are told; the same for all systems of a table.

    Attributes:
        train_seconds, dev_seconds, test_seconds: speech of char and kws, by hash of the id; 0: all.
        char_head: ``linear``, ``conv`` or ``blstm``, see :class:`probe_heads.CharHead`.
        phones: directory of phone transcripts, ``<set>``; None: characters.
        sid_sets: sets whose speakers are told apart; empty: the training set.
        sid_split: ``utterance`` or ``session``, see :func:`probe_data.split_speakers`.
        sid_utterances: of a speaker at most; 0: all.
        sid_seconds: heard of an utterance, from its middle; 0: all.
        keywords: how many.
        keyword_letters: fewest letters of one.
        epochs: of every head; 0: each task's own number.
    """

    train_seconds: float = 1800.0
    dev_seconds: float = 300.0
    test_seconds: float = 900.0
    char_head: str = "linear"
    phones: str | None = None
    sid_sets: tuple[str, ...] = ()
    sid_split: str = "utterance"
    sid_utterances: int = 50
    sid_seconds: float = 2.0
    keywords: int = 10
    keyword_letters: int = 4
    epochs: int = 0

    def of_task(self, task: str) -> dict[str, Any]:
        """The settings that a task's figure depends on."""
        own = {"char": ("char_", "phones"), "sid": ("sid_",), "kws": ("keyword",)}[task]
        sizes = () if task == "sid" else ("train_", "dev_", "test_")
        return {k: v for k, v in asdict(self).items() if k.startswith((*own, *sizes, "epochs"))}


class Corpus:
    """The sets, read when they are first asked for.

    Args:
        dump: directory of the sets' checked audio, ``dump/raw``.
        train, dev, test: names of sets.
        settings: of the probes.
    """

    def __init__(self, dump: Path, train: str, dev: str, test: str, settings: Settings):
        self.dump, self.settings = dump, settings
        self.names = {"train": train, "dev": dev, "test": test}
        self.sid_names = settings.sid_sets or (train,)
        self._dumps: dict[str, feature_dir.FeatureDir] = {}
        self._utterances: dict[str, list[Utterance]] = {}

    def set(self, name: str) -> feature_dir.FeatureDir:
        """A set's index.

        Raises:
            ConfigError: it holds no waveforms, or none at 16 kHz.
            StaleError: it is missing or unfinished.
        """
        if name not in self._dumps:
            found = feature_dir.load(self.dump / name)
            if found.dim:
                raise ConfigError(f"{found.path}: models hear waveforms: --feats_type raw")
            feature_dir.check_rate(found)
            self._dumps[name] = found
        return self._dumps[name]

    def keys(self, task: str) -> dict[str, str]:
        """Role → key of every set (and phone transcript) that a task reads."""
        if task == "sid":
            spoken = {f"sid {name}": self.set(name).key for name in self.sid_names}
            return spoken | {"train": self.set(self.names["train"]).key}  # scales the features
        keys = {role: self.set(name).key for role, name in self.names.items()}
        if task == "char" and self.settings.phones:
            keys["phones"] = digest(sorted(self.phones().items()))
        return keys

    def utterances(self, name: str) -> list[Utterance]:
        """All utterances of a set."""
        if name not in self._utterances:
            checksums.verify(self.set(name).path)  # they are about to be heard
            self._utterances[name] = list(read_data_dir(self.set(name).path, transcripts=False))
        return self._utterances[name]

    @property
    def samples(self) -> dict[str, int]:
        """utterance → samples, for the sets that were read."""
        return {utt: n for dump in self._dumps.values() for utt, n in dump.lengths.items()}

    def part(self, role: str, limit_s: float) -> list[Utterance]:
        """Utterances of the set for ``train``, ``dev`` or ``test``, by hash.

        Args:
            limit_s: seconds of speech; 0: all.
        """
        from espnet_dice.probes.probe_data import up_to

        name = self.names[role]
        seconds = {utt: n / SAMPLE_RATE for utt, n in self.set(name).lengths.items()}
        return up_to(self.utterances(name), seconds, limit_s)

    def phones(self) -> dict[str, list[str]]:
        """utterance → phones, of all three sets.

        Raises:
            DataError: a file is missing.
        """
        found: dict[str, list[str]] = {}
        for name in self.names.values():
            path = Path(self.settings.phones) / name
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except OSError as err:
                raise DataError(f"{path}: {err.strerror}; it holds 'utterance phone …'") from None
            found |= {utt: phones for utt, *phones in map(str.split, lines) if phones}
        return found

    def task(self, name: str) -> Any:
        """A :class:`espnet_dice.probes.probe_tasks.Task` with its utterances.

        Raises:
            DataError: the sets do not go with it.
        """
        from espnet_dice.probes import probe_data, probe_tasks

        s = self.settings
        if name == "sid":
            spoken = [utt for one in self.sid_names for utt in self.utterances(one)]
            return probe_tasks.Speaker(
                probe_data.split_speakers(spoken, s.sid_utterances, s.sid_split)
            )
        limits = {r: getattr(s, f"{r}_seconds") for r in ("train", "dev", "test")}
        parts = probe_tasks.Parts(*(self.part(role, limit) for role, limit in limits.items()))
        silent = [utt for utt in parts.all if not utt.text]
        if silent and not (name == "char" and s.phones):
            raise DataError(
                f"{silent[0].name}: has no transcript, which probe {name} needs: write it to text, "
                f"or leave {name} out of --tasks (of a recipe: --probe_tasks)"
            )
        if name == "char":
            return probe_tasks.Char(parts, self.phones() if s.phones else None, s.char_head)
        words = probe_data.keywords(parts.train, parts.test, s.keywords, s.keyword_letters)
        return probe_tasks.Keyword(parts, words, self.samples)


def add_settings(parser: ArgumentParser) -> None:
    """Command-line options for :class:`Settings`."""
    default = Settings()
    for role in ("train", "dev", "test"):
        parser.add_argument(
            f"--{role}_seconds",
            type=float,
            default=getattr(default, f"{role}_seconds"),
            help="speech of char and kws, chosen by hash of the id; 0: all",
        )
    parser.add_argument(
        "--char_head",
        choices=("linear", "conv", "blstm"),
        default=default.char_head,
        help="of char; linear is SUPERB's, conv is for small models and corpora",
    )
    parser.add_argument("--phones", metavar="DIR", help="DIR/<set> holds 'utterance phone …'")
    parser.add_argument(
        "--sid_sets", nargs="*", default=[], metavar="SET", help="speakers; none: --train"
    )
    parser.add_argument(
        "--sid_split",
        choices=("utterance", "session"),
        default=default.sid_split,
        help="session: test utterances come from a recording session of their own",
    )
    parser.add_argument(
        "--sid_utterances", type=int, default=default.sid_utterances, help="a speaker; 0: all"
    )
    parser.add_argument(
        "--sid_seconds",
        type=float,
        default=default.sid_seconds,
        help="heard of an utterance, from its middle; 0: all",
    )
    parser.add_argument("--keywords", type=int, default=default.keywords, help="how many")
    parser.add_argument(
        "--keyword_letters", type=int, default=default.keyword_letters, help="fewest letters"
    )
    parser.add_argument(
        "--epochs", type=int, default=default.epochs, help="of every head; 0: the task's own"
    )


def settings_of(args: Namespace) -> Settings:
    """:class:`Settings` from parsed arguments."""
    values = {name: getattr(args, name) for name in Settings.__dataclass_fields__}
    return Settings(**values | {"sid_sets": tuple(args.sid_sets)})
