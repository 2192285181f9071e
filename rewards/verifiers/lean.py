"""Formal proofs: a text that may be one, the file that puts it behind its statement, and what Lean says of that.

The statement is the reference's; of an answer, only the proof is taken. Text that could change what is proved, run code
or forge a message is refused before Lean sees it. Lean's own word counts only at the line of our last command, about
a name with a nonce.
"""

import re
from dataclasses import dataclass
from typing import Any

from rewards.verifiers.programs import read_json

MAX_PROOF_CHARS = 65_536
TRUSTED_AXIOMS = frozenset({"propext", "Classical.choice", "Quot.sound"})

_WORDS = (
    "sorry sorryAx admit axiom axioms constant opaque native_decide ofReduceBool ofReduceNat trustCompiler "
    "def theorem lemma example abbrev instance structure inductive coinductive class deriving mutual "
    "namespace section end open export import prelude universe variable include omit private protected local scoped "
    "noncomputable partial unsafe implemented_by extern csimp attribute set_option "
    "macro macro_rules syntax notation infix infixl infixr prefix postfix elab elab_rules declare_syntax_cat "
    "run_tac run_cmd run_elab run_meta by_elab eval_expr initialize builtin_initialize include_str dbg_trace "
    "IO unsafeIO Lean Elab MetaM TacticM CommandElabM Environment"
)
_FORBIDDEN = re.compile(rf"(?<![\w'])(?:{'|'.join(_WORDS.split())})(?![\w'])")
_COMMAND = re.compile(r"#[a-zA-Z]|@\[|[«»]")
_STATEMENT = re.compile(r"\s*(?:theorem|lemma)\s+([A-Za-z_][\w']*)(?=[\s:({\[⦃])")
_MODULE = re.compile(r"^\s*module\b", re.MULTILINE)
_FENCE = re.compile(r"^```(?:lean4?)?[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")


@dataclass(frozen=True, slots=True)
class Statement:
    """What is to be proved: imports and the like, then `theorem NAME ... : ...` without its proof."""

    header: str
    text: str
    name: str


@dataclass(frozen=True, slots=True)
class LeanFile:
    """The text for Lean, with the statement twice: with the proof, and then alone. Lines count from 1.

    `name` is the theorem's, with the nonce.
    """

    text: str
    name: str
    statement_line: int
    proof_line: int
    alone_line: int
    check_line: int


def read_statement(reference: Any) -> Statement:
    """A text, or an object with `statement` and `header`. Raises ValueError: such a reference is unscorable."""
    given = {"statement": reference} if isinstance(reference, str) else reference
    if not isinstance(given, dict) or not set(given) <= {"statement", "header"}:
        raise ValueError("the reference is neither a statement nor an object with `statement` and `header`")
    text, header = given.get("statement"), given.get("header", "")
    if not isinstance(text, str) or not isinstance(header, str):
        raise ValueError("statement and header are texts")
    if _MODULE.search(header):  # every proof would be wrong: Lean 4.28 refuses `#print axioms` there
        raise ValueError("the header makes the file a `module`, where Lean does not say which axioms are used")
    found = _STATEMENT.match(text)
    if found is None or ":=" in text or _FORBIDDEN.search(text, found.end()):
        raise ValueError("the statement is `theorem NAME ... : ...`, without `:=` and proof")
    return Statement(header.strip(), text.strip(), found[1])


def read_proof(answer: str) -> str | None:
    """The last fenced block of Lean, or else all of the answer, without a `:=` in front; None for nothing."""
    blocks = _FENCE.findall(answer)
    return (blocks[-1] if blocks else answer).strip().removeprefix(":=").strip() or None


def find_refusal(proof: str) -> str | None:
    """Why a text is no proof that Lean may see, or None. Comments count as the rest does. Linear in the text."""
    if len(proof) > MAX_PROOF_CHARS:
        return f"a proof of more than {MAX_PROOF_CHARS} characters"
    if _CONTROL.search(proof):
        return "control or invisible characters"
    for pattern in (_FORBIDDEN, _COMMAND):
        if found := pattern.search(proof):
            return f"{found.group()!r} has no place in a proof"
    if "\n" in proof and not re.match(r"by\b|fun\b|λ|⟨|\(", proof):
        return "a proof of several lines starts with `by`, or is a function, pair or term in brackets"
    return None


def make_file(statement: Statement, proof: str, nonce: str) -> LeanFile:
    """The statement and its proof in a name space of their own, and the question which axioms they use.

    Between them the statement alone, for the faults that Lean reports of a proof at the line of its statement (that it
    goes round in circles, say). It comes after the proof, which cannot find it then.
    """
    space, alone = f"Check{nonce}", f"Alone{nonce}"
    header = f"{statement.header}\nnamespace {space}\n"
    before = f"{header}{statement.text} :=\n"
    middle = "".join(f"  {line}\n" for line in proof.splitlines())
    proved = f"{before}{middle}\nend {space}\nnamespace {alone}\n"
    name = f"{space}.{statement.name}"
    text = f"{proved}{statement.text} :=\n  sorry\n\nend {alone}\n#print axioms {name}\n"
    statement_line, proof_line, alone_line = (part.count("\n") + 1 for part in (header, before, proved))
    return LeanFile(text, name, statement_line, proof_line, alone_line, text.count("\n"))


def read_verdict(output: str, file: LeanFile) -> tuple[float | None, str]:
    """Score and reason of what `lean --json` says: 1, 0, or None where the statement itself is wrong.

    It is wrong where the header has an error, or both of its copies have one at the same place.
    """
    messages = [message for message in map(_read_message, output.splitlines()) if message is not None]
    errors = {number: data for severity, number, data in reversed(messages) if severity == "error"}
    places = range(file.proof_line - file.statement_line + 1)  # and the line after it, which a comment may lead into
    alone = {number - file.alone_line for number in errors} & set(places)
    for number in sorted(errors.keys() - {file.alone_line + place for place in alone}):
        fault = errors[number].splitlines()[0][:200] if errors[number] else "an error"
        is_of_statement = number < file.statement_line or number - file.statement_line in alone
        return (None, f"the statement: {fault}") if is_of_statement else (0, f"line {number}: {fault}")
    proved = [data for severity, number, data in messages if (severity, number) == ("information", file.check_line)]
    name, said = f"'{file.name}' ", " ".join(proved[-1].split()) if proved else ""
    if said == f"{name}does not depend on any axioms":
        return 1, "proved"
    found = re.fullmatch(r"depends on axioms: \[([^\]]*)\]", said.removeprefix(name))
    if found is None or not said.startswith(name):
        return 0, "Lean does not say which axioms the proof uses"
    extra = {axiom.strip() for axiom in found[1].split(",")} - TRUSTED_AXIOMS
    return (0, f"uses the axiom {min(extra)}") if extra else (1, "proved")


def _read_message(line: str) -> tuple[str, int, str] | None:
    try:
        message = read_json(line)
        return str(message["severity"]), int(message["pos"]["line"]), str(message["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
