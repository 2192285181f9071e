"""Task `json_schema`: strict JSON that meets a schema."""

from typing import Any

from rewards.params import choice, flag
from rewards.registry import Case, reward
from rewards.response import split_response
from rewards.types import RewardRequest, RewardResult
from rewards.verifiers.documents import FENCE, parse_document, unfenced
from rewards.verifiers.json_text import Malformed, parse_json, same_json
from rewards.verifiers.schemas import UnusableSchema, first_error, read_schema

MAX_EXTRACTED_CHARS = 4_096

PARAMS = {
    "fence": "optional (default): one Markdown fence may stand around the whole answer; required; forbidden",
    "assert_formats": "false (default): the keyword format is a remark, as in Draft 2020-12; true: it is checked",
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]+$"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
DATE = {"type": "string", "format": "date"}
ADA = '{"name": "Ada", "age": 36}'


def _wanted(age: int) -> dict[str, Any]:
    return {"schema": PERSON, "value": {"age": age, "name": "Ada"}}


@reward(
    "json_schema",
    params=PARAMS,
    example={"question": "Ada, 36, as JSON with name and age.", "response": ADA, "reference": PERSON},
    cases=[
        Case(name="honest", response=ADA, score=1),
        Case(name="fenced", response=f"```json\n{ADA}\n```", score=1),
        Case(name="after the thinking", response="<think>{}</think>\n" + ADA, score=1),
        Case(name="an integer as 36.0", response='{"name": "Ada", "age": 36.0}', score=1),
        Case(name="the value asked for", response=ADA, reference=_wanted(36), score=1),
        Case(name="another value", response=ADA, reference=_wanted(37), score=0),
        Case(name="empty", response="", score=0),
        Case(name="thinking never ends", response="<think>" + ADA, score=0),
        Case(name="document in the thinking only", response=f"<think>{ADA}</think>", score=0),
        Case(name="wrong type", response='{"name": "Ada", "age": "36"}', score=0),
        Case(name="true for 1", response='{"name": "Ada", "age": true}', score=0),
        Case(name="stuffed with keys", response='{"name": "Ada", "age": 36, "valid": true}', score=0),
        Case(name="a repeated key", response='{"name": "Ada", "age": "x", "age": 36}', score=0),
        Case(name="a key repeated by an escape", response='{"name": "Ada", "age": 1, "\\u0061ge": 36}', score=0),
        Case(name="NaN", response='{"name": "Ada", "age": NaN}', score=0),
        Case(name="infinity by overflow", response='{"name": "Ada", "age": 1e999}', score=0),
        Case(name="prose around", response=f"Here it is: {ADA}", score=0),
        Case(name="prose and a fence", response=f"Here it is:\n```json\n{ADA}\n```", score=0),
        Case(name="two fences", response=f"```json\n{ADA}\n```\n```json\n{ADA}\n```", score=0),
        Case(name="two documents", response=ADA + ADA, score=0),
        Case(name="a fence of code", response=f"```python\n{ADA}\n```", score=0),
        Case(name="a fence where none may be", response=f"```\n{ADA}\n```", params={"fence": "forbidden"}, score=0),
        Case(name="no fence where one must be", response=ADA, params={"fence": "required"}, score=0),
        Case(name="comments, single quotes", response="{'name': 'Ada', 'age': 36} // ok", score=0),
        Case(name="the schema as the answer", response='{"type": "object", "properties": {}}', score=0),
        Case(name="injected", response='{"$schema": {}, "$ref": "#", "name": "Ada", "age": 36}', score=0),
        Case(name="nested", response="[" * 30 + "]" * 30, reference=TREE, score=1),
        Case(name="nested too deep", response="[" * 33 + "]" * 33, reference=TREE, score=0),
        Case(name="nested without end", response="[" * 100_000, reference=TREE, score=0),
        Case(name="huge", response='{"name": "A' + "a" * 100_000 + '", "age": 36}', score=0),
        Case(name="look-alike", response='{"name": "\u0410da", "age": 36}', score=0),
        Case(name="zero width", response='{"na\u200bme": "Ada", "age": 36}', score=0),
        Case(name="full-width quotes", response="{\uff02name\uff02: \uff02Ada\uff02, \uff02age\uff02: 36}", score=0),
        Case(name="a line after the pattern's end", response='{"name": "Ada\\n", "age": 36}', score=0),
        Case(name="a format, remarked", response='"2024-02-30"', reference=DATE, score=1),
        Case(
            name="a format, asserted",
            response='"2024-02-30"',
            reference=DATE,
            params={"assert_formats": True},
            score=0,
        ),
    ],
)
def json_schema(request: RewardRequest) -> RewardResult:
    """1 where the answer is strict JSON, with nothing around it, that meets the JSON Schema in the reference.

    A reference `{"schema": ..., "value": ...}` asks for that value, too.
    """
    return judge_document(request, "json")


def judge_document(request: RewardRequest, language: str) -> RewardResult:
    """The judgement of a document in a language of `parse_document`. Its characters are judged as they are: no NFKC."""
    assert isinstance(request.response, str), "checked by the scorer"
    params, task = request.params, request.task
    fence, delimiter = choice(params, "fence", FENCE), params.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"params.delimiter: {delimiter!r} is no single character that could separate fields")
    infer_types, assert_formats = flag(params, "infer_types"), flag(params, "assert_formats")
    try:
        schema, wanted = _read_reference(request.reference, assert_formats=assert_formats)
        answer = split_response(request.response).answer
        if not answer:
            return RewardResult(score=0, reason="no answer", verifier=task)
        document = unfenced(answer, language, fence)
        value = parse_document(document, language, delimiter=delimiter, infer_types=infer_types)
        failure = first_error(schema, value)
    except UnusableSchema as error:
        return RewardResult(score=None, status="unscorable", reason=str(error), verifier=task)
    except Malformed as error:
        return RewardResult(score=0, reason=str(error), components={"parsed": 0.0, "valid": 0.0}, verifier=task)
    components = {"parsed": 1.0, "valid": float(failure is None)}
    if failure is None and wanted and not same_json(value, wanted[0]):
        failure = "valid, but not the value asked for"
    return RewardResult(
        score=float(failure is None),
        reason=failure or "meets the schema",
        components=components,
        extracted=document[:MAX_EXTRACTED_CHARS],
        verifier=task,
    )


def _read_reference(reference: Any, *, assert_formats: bool) -> tuple[Any, list[Any]]:
    """The validator, and the value asked for in a list, empty where any valid one will do. Raises UnusableSchema."""
    if isinstance(reference, str):
        try:
            reference = parse_json(reference)
        except Malformed as error:
            raise UnusableSchema(f"the reference is no schema: {error}") from error
    wanted = []
    if isinstance(reference, dict) and reference.keys() == {"schema", "value"}:
        reference, wanted = reference["schema"], [reference["value"]]
    schema = read_schema(reference, assert_formats=assert_formats)
    failure = first_error(schema, wanted[0]) if wanted else None
    if failure:
        raise UnusableSchema(f"the reference's own value does not meet its schema: {failure}")
    return schema, wanted
