"""A web page over run folders: live curves, comparison, responses, events. It reads, and changes nothing."""

import base64
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi.responses import PlainTextResponse, Response

from rewards.service_config import is_loopback
from rl.log import as_json
from rl.report import CHARTS, to_json
from rl.run_folder import RunFolders, differing, read_config_values, read_last, read_rows, sample_files
from rl.sample_pages import KINDS, as_text, cut, read_page, read_text, shorten

MAX_COMPARED = 24
MAX_EVENTS = 500
MAX_METRICS = 2_000  # of a row
MAX_VALUE_CHARACTERS = 2_000
QUIET_S = 60.0  # beyond two steps: a run that has written nothing for so long is not called live
SCRIPTS = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data: blob:; "
HEADERS = {
    # Plotly sets styles of its own. There is no inline script: what a model wrote cannot become one.
    "Content-Security-Policy": SCRIPTS + "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Names = Annotated[list[str], Query(alias="run", min_length=1, max_length=MAX_COMPARED)]
Place = Annotated[int, Query(ge=0, lt=2**62)]


def make_app(root: Path, *, host: str = "127.0.0.1", token: str | None = None) -> FastAPI:
    """The app over the runs below `root`, for a server at `host`. Raises ValueError where there is no such folder.

    On loopback it answers to no other host name, so that no page of another site reaches it by one of its own.
    With a token, a browser must give it as the password.
    """
    app = FastAPI(title="Sharpen", docs_url=None, redoc_url=None, openapi_url=None)
    folders = RunFolders(root)
    _guard(app, None if not is_loopback(host) else host, token)
    _add_page(app, folders)
    _add_runs(app, folders)
    _add_samples(app, folders)
    return app


def _guard(app: FastAPI, loopback: str | None, token: str | None) -> None:
    wanted = None if token is None else token.encode()

    @app.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        if loopback is not None and not is_loopback(_host_name(request)):
            response: Response = PlainTextResponse("this page answers to the names of this machine alone", 400)
        elif wanted is not None and not secrets.compare_digest(_password(request), wanted):
            response = PlainTextResponse("the password is the token", 401, {"WWW-Authenticate": "Basic"})
        else:
            response = await call(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(LookupError)
    async def not_there(_: Request, error: LookupError) -> Response:
        return PlainTextResponse(str(error.args[0]), 404)

    @app.exception_handler(OSError)
    async def not_readable(_: Request, error: OSError) -> Response:
        return PlainTextResponse(f"a file cannot be read: {error.strerror}", 404)


def _host_name(request: Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _password(request: Request) -> bytes:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2] if scheme.lower() == "basic" else b""
    except ValueError:
        return b""


class Answer(Response):
    """JSON in ASCII: a lone surrogate in a text is spelled out."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(as_json(content), allow_nan=False, default=str).encode()


def _add_page(app: FastAPI, folders: RunFolders) -> None:
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    report = environment.get_template("report.html.j2")
    shared = {name: "".join(block(report.new_context())) for name, block in report.blocks.items()}
    charts = [{"title": title, "note": note, "units": units} for title, note, units in CHARTS]
    script = "\n".join(['"use strict";', *(shared[name] for name in ("helpers", "scores", "answers"))])
    script += f"\nconst CHARTS = {to_json(charts)};\n" + "\n".join(
        (here / name).read_text(encoding="utf-8") for name in ("ui.js", "ui_curves.js", "ui_tabs.js")
    )
    style = shared["style"] + (here / "ui.css").read_text(encoding="utf-8")
    page = environment.get_template("ui.html.j2").render(name=folders.root.name)

    @app.get("/")
    def show_page() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/ui.css")
    def show_style() -> Response:
        return Response(style, media_type="text/css")

    @app.get("/ui.js")
    def show_script() -> Response:
        return Response(script, media_type="text/javascript")

    @app.get("/plotly.js")
    def show_plotly() -> Response:
        from plotly.offline import get_plotlyjs

        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(get_plotlyjs(), media_type="text/javascript", headers=headers)


def _add_runs(app: FastAPI, folders: RunFolders) -> None:
    @app.get("/api/runs")
    def list_runs() -> Answer:
        return Answer([summary(folders, name, folder) for name, folder in folders.runs().items()])

    @app.get("/api/rows")
    def show_rows(run: str, after: str = "") -> Answer:
        path = folders.file(run, "metrics.jsonl")
        if path is None:
            return Answer({"rows": [], "place": "", "is_fresh": True, "is_end": True})
        page = read_rows(path, after)
        rows = [measured for row in page.rows if (measured := _measured(row))]
        return Answer({"rows": rows, "place": page.place, "is_fresh": page.is_fresh, "is_end": page.is_end})

    @app.get("/api/events")
    def show_events(run: str) -> Answer:
        path = folders.file(run, "events.jsonl")
        events, is_cut = ([], False) if path is None else read_last(path)
        shown = [shorten(event) for event in events[-MAX_EVENTS:]]
        return Answer({"events": shown, "is_cut": is_cut or len(events) > MAX_EVENTS})

    @app.get("/api/configs")
    def compare_configs(runs: Names) -> Answer:
        files = {run: folders.file(run, "config.yaml") for run in runs}
        configs = {run: read_config_values(path) if path else {} for run, path in files.items()}
        lines = {key: [_shown(value) for value in values] for key, values in differing(configs).items()}
        return Answer({"runs": list(configs), "lines": lines})


def _add_samples(app: FastAPI, folders: RunFolders) -> None:
    def find_file(run: str, name: str) -> Path:
        folder = folders.run(run)
        files = {name_of(path, folder) for _, _, path in sample_files(folder)}
        path = folders.checked(folder / name) if name in files else None
        if path is None:
            raise LookupError(f"the run has no samples {name!r}")
        return path

    @app.get("/api/samples")
    def list_samples(run: str) -> Answer:
        folder = folders.run(run)
        files = [file for file in sample_files(folder) if folders.is_inside(file[2])]
        return Answer(
            [
                {
                    "step": step,
                    "suite": suite,
                    "file": name_of(path, folder),
                    "bytes": path.stat().st_size,
                }
                for step, suite, path in files
            ]
        )

    @app.get("/api/groups")
    def show_groups(run: str, file: str, start: Place = 0, kind: str = "", find: str = "") -> Answer:
        if kind not in KINDS:
            raise LookupError(f"kind: unknown {kind!r}; known are {', '.join(filter(None, KINDS))}")
        return Answer(read_page(find_file(run, file), start, kind=kind, find=find))

    @app.get("/api/text")
    def show_text(run: str, file: str, at: Place, response: Place | None = None) -> PlainTextResponse:
        text = read_text(find_file(run, file), at, response)
        return PlainTextResponse(text.encode(errors="backslashreplace"))


def name_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def summary(folders: RunFolders, name: str, folder: Path) -> dict[str, Any]:
    """What the list of runs says of one: what it is, how far, and whether it goes on."""
    metrics, config = folders.checked(folder / "metrics.jsonl"), folders.checked(folder / "config.yaml")
    values = read_config_values(config) if config else {}
    rows = read_last(metrics)[0] if metrics else []
    row = max((row for row in rows if _measured(row)), key=lambda row: row["step"], default={})
    age_s = max(0.0, time.time() - metrics.stat().st_mtime) if metrics else None
    step, num_steps, step_s = row.get("step"), values.get("num_steps"), row.get("time/step_s")
    is_complete = isinstance(num_steps, int) and isinstance(step, int) and step >= num_steps
    patience_s = QUIET_S + 2 * (step_s if isinstance(step_s, int | float) else 0.0)
    return {
        "name": name,
        "recipe": _shown(values.get("recipe", "")),
        "model": _shown(values.get("model", "")),
        "step": step,
        "num_steps": num_steps if isinstance(num_steps, int) else None,
        "age_s": age_s,
        "state": "complete" if is_complete else "live" if age_s is not None and age_s < patience_s else "quiet",
    }


def _measured(row: dict[str, Any]) -> dict[str, int | float]:
    """The numbers of a row; empty where it is none of a step."""
    if not isinstance(row.get("step"), int):
        return {}
    numbers = [(key, value) for key, value in row.items() if isinstance(value, int | float)]
    return dict(numbers[:MAX_METRICS])


def _shown(value: Any) -> str:
    return cut(as_text(value), MAX_VALUE_CHARACTERS)
