"""Formal proofs, against a program that speaks like Lean: no real one is needed."""

import json
import sys

import pytest

from rewards.registry import load_tasks
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.lean import find_refusal, make_file, read_proof, read_statement, read_verdict
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
        "namespace Alone7f", f"{STATEMENT} :=", "  sorry", "", "end Alone7f",
        "#print axioms Check7f.t'",
    ]  # fmt: skip
    assert (file.statement_line, file.proof_line, file.alone_line, file.check_line) == (3, 4, 9, 13)


def said(line, data, severity="error"):
    """A message as Lean 4 writes it."""
    place = {"pos": {"column": 8, "line": line}, "endPos": {"column": 10, "line": line}, "keepFullRange": False}
    return json.dumps({"severity": severity, **place, "kind": "[anonymous]", "fileName": "Proof.lean", "data": data})


CIRCLE = "fail to show termination, possible errors with encountered parameters:\nstructural recursion cannot be used"
UNKNOWN = "unknown identifier 'X'"
SORRY = said(9, "declaration uses 'sorry'", "warning")
CLEAN = said(13, "'Check7f.t'' does not depend on any axioms", "information")


@pytest.mark.parametrize(
    ("messages", "score", "reason"),
    [
        (
            [said(3, CIRCLE), SORRY, said(13, "'Check7f.t'' depends on axioms: [sorryAx]", "information")],
            0,
            "line 3: fail",
        ),
        ([said(3, "(kernel) deep recursion detected"), SORRY], 0, "line 3: (kernel)"),
        ([said(5, "unsolved goals"), SORRY], 0, "line 5: unsolved"),
        ([said(14, "unterminated comment")], 0, "line 14"),
        ([said(7, "unexpected token 'end'; expected ')'"), SORRY], 0, "line 7"),
        ([said(1, "unknown module prefix 'Mathlib'")], None, "the statement: unknown module"),
        ([said(3, UNKNOWN), said(9, UNKNOWN)], None, "the statement: unknown identifier"),
        ([said(9, UNKNOWN), said(3, UNKNOWN), said(5, "unsolved goals")], None, "the statement: unknown identifier"),
        ([said(4, "unexpected token 'by'"), said(10, "unexpected token 'sorry'")], None, "the statement: unexpected"),
        ([said(3, CIRCLE), said(10, "an error of another place")], 0, "line 3: fail"),
        ([SORRY, CLEAN], 1, "proved"),
        ([said(9, "declaration uses 'sorry'"), CLEAN], 1, "proved"),
        ([said(9, "unterminated string literal")], 0, "does not say"),
    ],
)
def test_an_error_is_the_statements_only_where_it_has_it_without_a_proof(messages, score, reason):
    file = make_file(read_statement({"statement": STATEMENT, "header": "import Mathlib"}), "by\n  omega", "7f")
    found, why = read_verdict("\n".join(messages), file)
    assert found == score
    assert reason in why


def test_the_lines_of_a_long_statement_are_told_apart_from_those_of_its_proof():
    file = make_file(read_statement("theorem t\n  (a : Nat)\n  : a = a"), "by\n  rfl", "7f")
    assert [file.text.splitlines()[line - 1] for line in (file.statement_line, file.alone_line)] == ["theorem t"] * 2
    second, third = file.statement_line + 1, file.statement_line + 2
    assert read_verdict(said(second, UNKNOWN) + "\n" + said(file.alone_line + 1, UNKNOWN), file)[0] is None
    assert read_verdict(said(third, UNKNOWN) + "\n" + said(file.alone_line + 1, UNKNOWN), file)[0] == 0


@pytest.mark.parametrize(("is_in_both", "score", "status"), [(False, 0, "ok"), (True, None, "unscorable")])
def test_a_proof_by_itself_is_wrong_and_not_the_reference(tmp_path, monkeypatch, is_in_both, score, status):
    lean = tmp_path / "lean"
    lean.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "lines = open(sys.argv[-1]).read().splitlines()\n"
        "places = [number for number, line in enumerate(lines, 1) if line.startswith('theorem')]\n"
        f"for number in places[:{1 + is_in_both}]:\n"
        f"    print(json.dumps(dict(severity='error', pos=dict(line=number, column=8), data={CIRCLE!r})))\n"
        "sys.exit(1)\n"
    )
    lean.chmod(0o755)
    monkeypatch.setenv("SHARPEN_LEAN", str(lean))
    monkeypatch.setenv("SHARPEN_UNSAFE_LOCAL", "1")
    result = judge("by exact t' a b")
    assert (result.score, result.status) == (score, status)
    assert "fail to show termination" in result.reason


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
