"""Queries that no candidate passes, for people: a file of their candidates, and the verdicts that come back in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rl.curation.candidates import Candidate, with_verdict
from rl.curation.queries import Query
from rl.files import read_lines, write_rows


class ReviewConfig(BaseModel):
    """Where verdicts of people are: a copy of `review.jsonl` with `right` filled in, true or false."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None


Verdicts = dict[tuple[str, int], bool]  # by query and number of the candidate


def write_review(path: Path, queries: Sequence[Query], candidates: Mapping[str, Sequence[Candidate]]) -> None:
    """A row a query: the question, the reference, and each candidate with an empty verdict, or the one it has."""
    write_rows(
        path,
        (
            {
                "id": query.id,
                "domain": query.domain,
                "question": query.text,
                "reference": query.prompt.reference,
                "task": query.prompt.task,
                "candidates": [
                    {"number": each.number, "response": each.text, "extracted": each.extracted, "right": each.right}
                    for each in candidates[query.id]
                ],
                "note": "",
            }
            for query in queries
        ),
    )


def read_verdicts(path: Path, candidates: Mapping[str, Sequence[Candidate]], *, is_own: bool = False) -> Verdicts:
    """What people decided. Raises ValueError that names an id or a candidate which this run does not have.

    A verdict is about a text: one on a response that reads otherwise here is refused, too. The run's own file may have
    queries that are dropped by now: what had failed is tried again on a resume, and a judge may find them unfit.
    """
    verdicts: Verdicts = {}
    for where, row in read_lines(path, "review.path"):
        identity, judged = row.get("id"), row.get("candidates")
        if is_own and identity not in candidates:
            continue
        if not isinstance(identity, str) or identity not in candidates:
            raise ValueError(f"{where}: unknown query id {identity!r}: take the ids from this run's review.jsonl")
        if not isinstance(judged, list):
            raise ValueError(f"{where}: query {identity}: no list candidates")
        texts = {each.number: each.text for each in candidates[identity]}
        for entry in judged:
            number, right = (entry.get("number"), entry.get("right")) if isinstance(entry, dict) else (None, None)
            if not isinstance(number, int) or number not in texts:
                raise ValueError(f"{where}: query {identity} has no candidate {number!r}")
            if entry.get("response", texts[number]) != texts[number]:
                raise ValueError(f"{where}: query {identity}, candidate {number}: the response is not this run's")
            if right is not None and not isinstance(right, bool):
                raise ValueError(f"{where}: query {identity}, candidate {number}: right must be true, false or null")
            if right is not None:
                verdicts[identity, number] = right
    return verdicts


def apply_verdicts(
    config: ReviewConfig, own: Path, candidates: Mapping[str, Sequence[Candidate]]
) -> dict[str, list[Candidate]]:
    """Candidates with what people said of them: in the file of the config, and in the run's own where it was filled."""
    verdicts = read_verdicts(own, candidates, is_own=True) if own.exists() else {}
    if config.path is not None:
        verdicts |= read_verdicts(Path(config.path), candidates)
    return {
        identity: [with_verdict(each, verdicts.get((identity, each.number))) for each in found]
        for identity, found in candidates.items()
    }
