"""Formal proofs, against a program that speaks like Lean: no real one is needed."""

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.lean import find_refusal, make_file, read_proof, read_statement
from tests.fakes import write_fake_lean

TASK = load_tasks()["math_proof_lean"]
STATEMENT = "theorem t' (a b : Nat) : a + b = b + a"


@pytest.fixture
def lean(tmp_path, monkeypatch):
    monkeypatch.setenv("SHARPEN_LEAN", write_fake_lean(tmp_path / "lean"))
    monkeypatch.setenv("SHARPEN_UNSAFE_LOCAL", "1")


def judge(proof, reference=STATEMENT, **params):
    request = RewardRequest(
        task="math_proof_lean",
        response=f"```lean\n{proof}\n```",
        reference=reference,
        params={"timeout_s": 60, **params},
    )
    result = TASK.judge(request)
    assert isinstance(result, RewardResult)
    return result


@pytest.mark.parametrize(
    ("proof", "score", "status", "reason"),
    [
        ("by omega", 1, "ok", "proved"),
        ("by classical", 1, "ok", "proved"),
        (":= by\n  garbage", 1, "ok", "proved"),
        ("by fails", 0, "ok", "unsolved goals"),
        ("by native", 0, "ok", "Lean.bad"),
        ("by traces", 0, "ok", "does not say"),
        ("by floods", 0, "ok", "does not say"),
        ("by dies", None, "error", "ended with code"),
        ("by sorry", 0, "ok", "'sorry' has no place"),
    ],
)
def test_what_lean_says_decides(lean, proof, score, status, reason):
    result = judge(proof)
    assert (result.score, result.status) == (score, status)
    assert reason in result.reason


def test_a_proof_that_takes_too_long_is_wrong(lean):
    result = judge("by hangs", timeout_s=1)
    assert (result.score, result.status) == (0, "ok")
    assert "more than 1 s" in result.reason


def test_without_lean_nothing_is_judged_but_what_needs_none(monkeypatch):
    monkeypatch.setenv("SHARPEN_LEAN", "no-such-lean")
    result = judge("by omega")
    assert (result.score, result.status) == (None, "error")
    assert "install Lean" in result.reason
    assert judge("by sorry").score == 0


def test_lean_runs_without_a_sandbox_only_where_that_is_allowed(lean, monkeypatch):
    monkeypatch.delenv("SHARPEN_UNSAFE_LOCAL")
    result = judge("by omega")
    assert (result.score, result.status) == (None, "error")
    assert "SHARPEN_UNSAFE_LOCAL=1" in result.reason


@pytest.mark.parametrize(
    "reference",
    [None, "", "1 + 1 = 2", "theorem : True", "theorem t : True := trivial", "theorem t : sorry", {"header": ""},
     {"statement": STATEMENT, "proof": "by omega"}, {"statement": STATEMENT, "header": 1},
     {"statement": STATEMENT, "header": "module\nimport Init"},
     "theorem wrong_statement : X"],
)  # fmt: skip
def test_a_statement_that_is_none_is_unscorable(lean, reference):
    result = judge("by omega", reference=reference)
    assert (result.score, result.status) == (None, "unscorable")


def test_the_statement_is_the_references_and_the_name_cannot_be_guessed():
    statement = read_statement({"statement": STATEMENT, "header": "import Mathlib"})
    file = make_file(statement, "by\n  omega", "7f")
    assert file.text.splitlines() == [
        "import Mathlib", "namespace Check7f", f"{STATEMENT} :=", "  by", "    omega", "", "end Check7f",
        "#print axioms Check7f.t'",
    ]  # fmt: skip
    assert (file.proof_line, file.check_line) == (4, 8)


@pytest.mark.parametrize(
    "proof",
    ["by\n  have h : 1 = 1 := rfl\n  simpa [Nat.add_comm] using h", "fun a b => Nat.add_comm a b", "⟨rfl, by decide⟩",
     "by\n  obtain ⟨x, hx⟩ := h\n  exact hx.elim", "Nat.add_comm a b", "by simp [Nat.mod_def, 5 % 2]"],
)  # fmt: skip
def test_ordinary_proofs_are_not_refused(proof):
    assert find_refusal(proof) is None


def test_the_last_block_is_the_proof():
    assert read_proof("```lean\nby simp\n```\nNo:\n```lean4\n:= by omega\n```") == "by omega"
    assert read_proof("```\n\n```") is None
