"""Where model and loss code makes tensors and reads values from them, found in its source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "espnet_dice"
ROOMS = ("hubert/models", "hubert/frozen.py", "hubert/ssl.py", "dice", "kd")
FACTORIES = (
    *("arange", "as_tensor", "empty", "eye", "from_numpy", "full", "linspace", "logspace", "ones"),
    *("rand", "randint", "randn", "randperm", "scalar_tensor", "tensor", "zeros", "Generator"),
    *("Tensor", "FloatTensor", "LongTensor", "hann_window"),
)
"""Of torch: what makes a tensor of numbers, on the CPU where no device is named."""
KEPT = ("Parameter", "register_buffer")
"""What is given to these goes wherever the module goes."""
READERS = ("cpu", "cuda", "item", "numpy", "tolist")

ON_CPU = "before the step: collate functions and what makes labels or caches work on the CPU"
TABLE = "a table of the stem, made once and kept as a buffer"
BEGINS = "before a training's first step: a student is cut from its teacher on the CPU"
MADE = {
    "dice/collate.py DiceCollate.__call__: from_numpy": ON_CPU,
    "dice/collate.py DiceCollate.__call__: tensor": ON_CPU,
    "dice/cut.py directions: eye": BEGINS,
    "dice/cut.py directions: ones": BEGINS,
    "dice/cut.py _eye: eye": BEGINS,
    "dice/task.py _speech: as_tensor": BEGINS,
    "kd/teacher_shards.py TeacherShard._batches: as_tensor": ON_CPU,
    "kd/teacher_shards.py TeacherShard._batches: tensor": ON_CPU,
    "hubert/frozen.py FrozenSSLModel.hidden: as_tensor": "waveforms, padded and then sent",
    "hubert/models/mask.py pad_masks: from_numpy": "masks are drawn on the CPU, then sent",
    "hubert/models/mask.py pad_masks: zeros": "as above",
    "hubert/models/mel.py filters: arange": TABLE,
    "hubert/models/mel.py window: arange": TABLE,
    "hubert/models/backbone.py dropped: rand": "a number for the host: it skips a block, or not",
    "dice/model.py DiceHubertModel._masks: randint": "a seed for the host",
    "hubert/ssl.py SSLEncoder._draw_mask: randint": "a seed for the host",
}
LENGTHS = "lengths, at the beginning of a step"
READ = {
    "dice/faults.py check_labels: tolist": LENGTHS,
    "dice/faults.py not_finite: item": "a message, when the training ends",
    "dice/faults.py not_finite: tolist": "as above",
    "dice/model.py DiceHubertModel.forward: tolist": LENGTHS,
    "dice/start.py begin: cpu": BEGINS,
    "dice/teacher_cache.py TeacherCache.__call__: tolist": "on a CPU only",
    "dice/teacher_cache.py TeacherCache._of: numpy": "on a CPU only",
    "hubert/models/espnet_student.py EspnetStudent.forward: tolist": "validation only",
    "hubert/models/stem.py Stem._group_norm: tolist": "padded batches only",
    "hubert/ssl.py SSLEncoder._draw_mask: tolist": "masks are drawn on the CPU",
    "kd/alone.py encode: tolist": "utterances are heard one by one",
    "kd/alone.py log_mean_probs: tolist": "noise by the seed of each utterance",
    "kd/alone.py seeds: cpu": "a seed of each utterance's text",
    "kd/alone.py seeds: numpy": "as above",
    "kd/alone.py seeds: tolist": "as above",
    "kd/cache.py _first_mismatch: tolist": "a message, when the training ends",
    "kd/cache.py unpack: tolist": "as above",
    "kd/model.py UncertaintyKDModel._attention_loss: cpu": "validation only, ESPnet's error rates",
    "kd/teacher_shards.py teacher_forced: numpy": ON_CPU,
}


class Places(ast.NodeVisitor):
    """Calls that make tensors without saying where, and that take values from them."""

    def __init__(self, file: str):
        self.file, self.inside = file, []
        self.made: set[str] = set()
        self.read: set[str] = set()

    def _enter(self, node) -> None:
        self.inside.append(node.name)
        self.generic_visit(node)
        self.inside.pop()

    visit_FunctionDef = visit_ClassDef = _enter

    def visit_Call(self, node: ast.Call) -> None:
        """A call; what is given to a parameter or a buffer is not looked at."""
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in KEPT:
            return
        place = f"{self.file} {'.'.join(self.inside)}: {name}"
        if isinstance(called, ast.Attribute):
            of_torch = isinstance(called.value, ast.Name) and called.value.id == "torch"
            named = any(k.arg == "device" for k in node.keywords)
            if of_torch and name in FACTORIES and not named:
                self.made.add(place)
            if not of_torch and name in READERS:
                self.read.add(place)
        self.generic_visit(node)


def sources(package: Path) -> Iterator[Path]:
    """Files of models and losses."""
    for room in ROOMS:
        path = package / room
        yield from [path] if path.is_file() else sorted(path.glob("*.py"))


def places(package: Path = PACKAGE) -> tuple[set[str], set[str]]:
    """Where tensors are made without a device, and where values are read."""
    made, read = set(), set()
    for path in sources(package):
        found = Places(path.relative_to(package).as_posix())
        found.visit(ast.parse(path.read_text(encoding="utf-8")))
        made |= found.made
        read |= found.read
    return made, read


def test_tensors_are_made_where_their_inputs_are():
    assert places()[0] == set(MADE)


def test_values_are_read_in_named_places_only():
    assert places()[1] == set(READ)


@pytest.mark.parametrize(
    ("where", "line", "kind"),
    [
        ("kd/losses.py", "x = valid.sum().item()", "read"),
        ("kd/losses.py", "x = [n for n in lengths.tolist()]", "read"),
        ("dice/losses.py", "x = teacher.detach().cpu()", "read"),
        ("dice/losses.py", "x = np.asarray(teacher.numpy())", "read"),
        ("hubert/models/stem.py", "x = torch.zeros(3)", "made"),
        ("hubert/models/stem.py", "x = torch.arange(3, dtype=torch.long) < lengths", "made"),
        ("dice/head.py", "x = torch.tensor([1.0])", "made"),
        ("dice/head.py", "x = torch.arange(3, device=x.device) + torch.zeros_like(x)", ""),
        ("dice/head.py", "self.register_buffer('x', torch.zeros(3))", ""),
    ],
)
def test_a_planted_line_is_found(where, line, kind, tmp_path):
    package = tmp_path / "espnet_dice"
    for path in sources(PACKAGE):
        copy = package / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    with open(package / where, "a", encoding="utf-8") as f:
        f.write(f"\n\ndef planted(self, x, lengths, valid, teacher):\n    {line}\n")
    made, read = places(package)
    new = {"made": made - set(MADE), "read": read - set(READ)}
    assert {k for k, found in new.items() if found} == ({kind} if kind else set())
    assert all(f"{where} planted" in place for found in new.values() for place in found)
