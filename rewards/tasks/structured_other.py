"""Task `structured_other`: a document in YAML, XML, TOML or CSV whose value meets a schema."""

from typing import Any

from rewards.registry import Case, reward
from rewards.tasks.json_schema import PARAMS, judge_document
from rewards.types import RewardRequest, RewardResult

FORMATS = "yaml", "xml", "toml", "csv"

SERVER = {
    "type": "object",
    "properties": {"server": {"type": "object", "properties": {"port": {"type": "integer"}}, "required": ["port"]}},
    "required": ["server"],
}
ROWS = {"type": "array", "items": {"required": ["name", "age"], "properties": {"age": {"type": "integer"}}}}
PAIR = {"schema": {"type": "array"}, "value": [{"a": "1", "b": "2"}]}
ALIAS_BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
XML = "<server><port>80</port></server>"
LAUGHS = '<!DOCTYPE x [<!ENTITY a "80"><!ENTITY b "&a;&a;">]><server><port>&a;</port></server>'
FILE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><server><port>&a;</port></server>'


def _case(language: str, name: str, response: str, score: float, reference: Any = None, **params: Any) -> Case:
    if language in ("xml", "csv"):
        params = {"infer_types": True} | params
    params["format"] = language
    return Case(name=f"{language}, {name}", response=response, score=score, reference=reference, params=params)


@reward(
    "structured_other",
    params={
        "format": "yaml, xml, toml or csv; must be given",
        **PARAMS,
        "delimiter": "of csv, one character (default a comma)",
        "infer_types": "false (default): all of csv and xml are texts; true: what reads as a number, true, false or "
        "nothing (null) is that",
    },
    example={
        "question": "A server on port 80, as YAML.",
        "response": "server:\n  port: 80",
        "reference": SERVER,
        "params": {"format": "yaml"},
    },
    cases=[
        _case("yaml", "honest", "server:\n  port: 80", 1),
        _case("yaml", "fenced", "```yml\nserver: {port: 0x50}\n```", 1),
        _case("yaml", "an alias", "a: &a {port: 80}\nserver: *a", 1),
        _case("yaml", "after the thinking", "<think>x: [</think>server: {port: 80}", 1),
        _case("yaml", "wrong type", "server:\n  port: '80'", 0),
        _case("yaml", "a repeated key", "server: {port: x, port: 80}", 0),
        _case("yaml", "two documents", "server: {port: 80}\n---\nx: 1", 0),
        _case("yaml", "an object of Python", "server: {port: 80, x: !!python/object/apply:os.getpid []}", 0),
        _case("yaml", "an alias bomb", ALIAS_BOMB + "server: {port: 80}", 0),
        _case("yaml", "an alias in itself", "server: &a {port: 80, self: *a}", 0),
        _case("yaml", "nested without end", "[" * 60_000, 0),
        _case("yaml", "not a number", "server: {port: 80, x: .nan}", 0),
        _case("yaml", "prose", "Sure! Here is the file.", 0),
        _case("yaml", "huge", "server:\n  port: 80\n" + "# x\n" * 50_000, 0),
        _case("yaml", "a look-alike", "s\u0435rver:\n  port: 80", 0),
        _case("yaml", "thinking never ends", "<think>server: {port: 80}", 0),
        _case("toml", "honest", "[server]\nport = 80", 1),
        _case("toml", "a repeated key", "[server]\nport = 80\nport = 80", 0),
        _case("toml", "not a number", "x = nan\n[server]\nport = 80", 0),
        _case("toml", "dots without end", "server" + ".a" * 30_000 + " = 1", 0),
        _case("toml", "nested without end", "a = " + "[" * 60_000, 0),
        _case("toml", "another format", '{"server": {"port": 80}}', 0),
        _case("toml", "empty", "", 0),
        _case("xml", "honest", XML, 1),
        _case("xml", "all is text", XML, 0, infer_types=False),
        _case("xml", "entities", LAUGHS, 0),
        _case("xml", "a file", FILE, 0),
        _case("xml", "nested without end", "<a>" * 20_000, 0),
        _case("xml", "two roots", XML + "<x/>", 0),
        _case("csv", "honest", 'name,age\n"Lovelace, Ada",36\n', 1, ROWS),
        _case("csv", "the value asked for", "a;b\n1;2", 1, PAIR, delimiter=";", infer_types=False),
        _case("csv", "a short row", "name,age\nAda", 0, ROWS),
        _case("csv", "a repeated column", "name,age,age\nAda,x,36", 0, ROWS),
        _case("csv", "an open quote", 'name,age\n"Ada,36', 0, ROWS),
    ],
)
def structured_other(request: RewardRequest) -> RewardResult:
    """1 where the answer is one document of params.format whose value meets the JSON Schema in the reference.

    A reference `{"schema": ..., "value": ...}` asks for that value, too.
    """
    language = request.params.get("format")
    if language not in FORMATS:
        raise ValueError(f"params.format: {language!r} is none of {', '.join(FORMATS)}")
    return judge_document(request, language)
