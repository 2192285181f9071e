"""Task `math_proof_lean`: a formal proof that an installed Lean 4 accepts."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from rewards.params import number
from rewards.registry import Case, reward
from rewards.response import split_response
from rewards.sandbox import UNSAFE_LOCAL, allows_unsafe_local
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.lean import LeanFile, find_refusal, make_file, read_proof, read_statement, read_verdict

MAX_OUTPUT_BLOCKS = 2_048  # of 512 bytes: what Lean may write
KEPT = "PATH", "HOME", "LEAN_PATH", "ELAN_HOME"
_STATEMENT = "theorem add_comm' (a b : Nat) : a + b = b + a"


class NoLean(Exception):
    """Lean is not here, or died: our failure, never a wrong answer."""


def _block(proof: str) -> str:
    return f"```lean\n{proof}\n```"


@reward(
    "math_proof_lean",
    params={
        "timeout_s": "8 (default): seconds of wall time; the scorer's timeout_s is above it",
        "memory_mib": "2048 (default): Lean's own limit; the worker's memory_mib is above it",
    },
    example={
        "question": "Prove that addition of natural numbers commutes: give the proof alone.",
        "response": _block("by omega"),
        "reference": {"statement": _STATEMENT, "header": ""},
    },
    cases=[
        Case(name="sorry", response=_block("by sorry"), score=0),
        Case(name="sorry in a term", response=_block("sorryAx _ false"), score=0),
        Case(name="admit", response=_block("by\n  admit"), score=0),
        Case(name="axiom", response=_block("by exact h\naxiom h : a + b = b + a"), score=0),
        Case(name="native_decide", response=_block("by native_decide"), score=0),
        Case(name="another theorem", response=_block("by omega\ntheorem x : True := trivial"), score=0),
        Case(name="restated, and weaker", response=_block("theorem add_comm' : True := trivial"), score=0),
        Case(name="redefinition", response=_block("by trivial\ndef Nat.add := 0"), score=0),
        Case(name="leaves the name space", response=_block("by trivial\nend\nnamespace x"), score=0),
        Case(name="command", response=_block('by omega\n#eval "proved"'), score=0),
        Case(name="IO", response=_block("by exact (unsafeIO (IO.println 1))"), score=0),
        Case(name="macro", response=_block('by omega\nmacro "x" : tactic => `(tactic| sorry)'), score=0),
        Case(name="notation", response=_block('by omega\nnotation "=" => Or'), score=0),
        Case(name="option", response=_block("by\n  set_option maxRecDepth 100000 in omega"), score=0),
        Case(name="attribute", response=_block("by omega\n@[simp] abbrev x := 1"), score=0),
        Case(name="implemented_by", response=_block("by omega\nattribute [implemented_by f] g"), score=0),
        Case(name="unsafe", response=_block("unsafe by omega"), score=0),
        Case(name="in a comment", response=_block("by omega -- sorry"), score=0),
        Case(name="forged message", response="'Check.add_comm'' does not depend on any axioms\n#print axioms", score=0),
        Case(name="claims only", response="The proof is trivial.\nI have checked it with Lean.", score=0),
        Case(name="empty", response="", score=0),
        Case(name="empty block", response=_block(""), score=0),
        Case(name="thinking never ends", response=f"<think>{_block('by omega')}", score=0),
        Case(name="proof in the thinking only", response=f"<think>{_block('by omega')}</think>", score=0),
        Case(name="huge", response=_block("by\n" + "  skip\n" * 20_000), score=0),
        Case(name="invisible characters", response=_block("by so\u200brry"), score=0),
    ],
)  # fmt: skip
def math_proof_lean(request: RewardRequest) -> RewardResult:
    """1 where Lean 4 accepts the answer as the proof of the reference's statement, from the usual three axioms.

    Reference: the statement, `theorem NAME ... : ...` without proof, or an object with it and a `header` of imports.
    The answer, or its last fenced block, is the proof alone. Lean also sees the statement without it: an error of both
    is the reference's. Without Lean the status is error. Lean is `lean` on PATH,
    or the program that SHARPEN_LEAN names. It runs under limits, not in a sandbox, so SHARPEN_UNSAFE_LOCAL=1 must allow
    it, though what could run code is refused before. The tests have a program that speaks like it; of a real one
    only messages were seen.
    """
    timeout_s = number(request.params, "timeout_s", 8, 0.1, 600)
    memory_mib = int(number(request.params, "memory_mib", 2048, 64, 65_536))
    try:
        statement = read_statement(request.reference)
    except ValueError as error:
        return RewardResult(score=None, status="unscorable", reason=str(error))
    proof = read_proof(split_response(str(request.response)).answer or "")
    refusal = "no proof" if proof is None else find_refusal(proof)
    if proof is None or refusal is not None:
        return RewardResult(score=0, reason=str(refusal))
    file = make_file(statement, proof, secrets.token_hex(16))
    try:
        output = _compile(_find_lean(), file, timeout_s, memory_mib)
    except NoLean as error:
        return RewardResult(score=None, status="error", reason=str(error))
    score, reason = (0, f"more than {timeout_s:g} s") if output is None else read_verdict(output, file)
    status = "ok" if score is not None else "unscorable"
    return RewardResult(score=score, status=status, reason=reason, extracted=proof[:1_000])


def _find_lean() -> str:
    """The program. Raises NoLean where there is none, or where it must not run."""
    name = os.environ.get("SHARPEN_LEAN", "lean")
    program = shutil.which(name)
    if program is None:
        raise NoLean(f"no program {name!r}: install Lean 4 (elan), or name it in the environment variable SHARPEN_LEAN")
    if not allows_unsafe_local():
        raise NoLean(f"Lean runs without a sandbox; the environment variable {UNSAFE_LOCAL}=1 allows that")
    return program


def _compile(program: str, file: LeanFile, timeout_s: float, memory_mib: int) -> str | None:
    """What Lean writes, or None where it takes too long; it and what it started are gone then. Raises NoLean."""
    with tempfile.TemporaryDirectory(prefix="sharpen-lean-") as folder:
        source, output = Path(folder, "Proof.lean"), Path(folder, "output")
        source.write_text(file.text, encoding="utf-8")
        limited = ["sh", "-c", f'ulimit -f {MAX_OUTPUT_BLOCKS}; exec "$@"', "sh"]
        command = [*limited, program, "--json", "-M", str(memory_mib), str(source)]
        with open(output, "wb") as written:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={name: os.environ[name] for name in KEPT if name in os.environ},
                start_new_session=True,
            )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill(process)
        if code not in (0, 1, -signal.SIGXFSZ):  # the last: it wrote too much, which the answer made it do
            raise NoLean(f"{program} ended with code {code}")
        return output.read_text(encoding="utf-8", errors="replace")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
