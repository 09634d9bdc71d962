"""Archives are those of kaldiio, whole or not there, and a damaged one is refused."""

import kaldiio
import numpy as np
import pytest

from espnet_dice.io.arks import ArkReader, write_ark
from espnet_dice.io.errors import DataError
from tests.arks import write_ark_scp


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    return {f"utt{i}é": rng.normal(size=(5 + i, 3)).astype(np.float32) for i in range(4)}


def test_both_ways_against_kaldiio(tmp_path, matrices):
    ark, scp = tmp_path / "a b.ark", tmp_path / "a.scp"
    assert write_ark_scp(matrices.items(), ark, scp) == {k: m.shape for k, m in matrices.items()}
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/k.ark,{tmp_path}/k.scp") as f:
        for key, matrix in matrices.items():
            f[key] = matrix
    assert ark.read_bytes() == (tmp_path / "k.ark").read_bytes()
    theirs, ours = kaldiio.load_scp(str(scp)), ArkReader(tmp_path / "k.scp")
    assert list(theirs) == list(ours) == list(matrices)
    for key, matrix in matrices.items():
        np.testing.assert_array_equal(theirs[key], matrix)
        np.testing.assert_array_equal(ours[key], matrix)
        assert ours.shape(key) == matrix.shape and ours[key].flags.writeable
    with pytest.raises(KeyError):
        ours["nix"]


def test_a_renamed_directory_lists_its_final_path(tmp_path, matrices, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ark_scp(matrices.items(), "tmp/a.ark", "tmp/a.scp", listed_as="final/a.ark")
    (tmp_path / "tmp").rename(tmp_path / "final")
    np.testing.assert_array_equal(kaldiio.load_scp("final/a.scp")["utt0é"], matrices["utt0é"])
    monkeypatch.chdir("/")  # our own reader finds an archive beside its scp, too
    np.testing.assert_array_equal(ArkReader(tmp_path / "final/a.scp")["utt0é"], matrices["utt0é"])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros(3), "expected a matrix"),
        (np.zeros((0, 3)), "expected a matrix"),
        (np.array([[np.nan]]), "NaN or infinite"),
    ],
)
def test_what_is_no_matrix_leaves_no_archive(tmp_path, bad, says):
    with pytest.raises(DataError, match=f"x.ark: b: {says}"):
        write_ark([("a", np.ones((2, 2))), ("b", bad)], tmp_path / "x.ark")
    with pytest.raises(DataError, match="a: written twice"):
        write_ark([("a", np.ones((2, 2)))] * 2, tmp_path / "x.ark")
    assert list(tmp_path.iterdir()) == []


def test_damage_is_named(tmp_path, matrices):
    ark, scp = tmp_path / "x.ark", tmp_path / "x.scp"
    write_ark_scp(matrices.items(), ark, scp)
    ArkReader(scp).check()
    whole = ark.read_bytes()
    for size in (len(whole) - 1, len(whole) - 4 * 8 * 3 - 3):
        ark.write_bytes(whole[:size])
        for read in (ArkReader(scp).check, lambda: ArkReader(scp)["utt3é"]):
            with pytest.raises(DataError, match=r"x.ark: utt3é: truncated archive"):
                read()
    ark.write_bytes(b"\0" * len(whole))
    with pytest.raises(DataError, match=r"utt0é: .*no float32 matrix"):
        ArkReader(scp).check()
    ark.unlink()
    with pytest.raises(DataError, match=r"x.scp: utt0é: no such archive: .*x.ark"):
        ArkReader(scp).check()
    scp.write_text("a x.ark\n")
    with pytest.raises(DataError, match=r"x.scp:1: a: expected"):
        ArkReader(scp)
    scp.write_text("a x.ark:1\na x.ark:2\n")
    with pytest.raises(DataError, match=r"x.scp:2: a: listed twice"):
        ArkReader(scp)
    with pytest.raises(DataError, match="nix.scp: missing"):
        ArkReader(tmp_path / "nix.scp")
