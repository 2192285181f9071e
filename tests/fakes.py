"""Doubles for parts that live in other processes. Real parts are tested where they can run."""

import asyncio
import dataclasses
import json
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rewards.types import RewardRequest, RewardResult
from rl.learner import Bucket
from rl.prompts import Draw
from rl.types import ScoredGroup, StepMetrics, TrainBatch
from rollout.chat import Chat
from rollout.engine import Completion, EngineConfig
from rollout.environments.sampler import EnvironmentSampler
from rollout.sampler import EngineHandle, EngineLost, Sampler
from rollout.types import Group, Prompt, Sample, SamplingParams, ThinkBlock


def make_sample(text: str, *, length: int = 2, finish_reason: Any = "stop", policy_version: int = 0) -> Sample:
    return Sample(
        token_ids=(7,) * length,
        logprobs=(-0.5,) * length,
        sampled=(True,) * length,
        text=text,
        finish_reason=finish_reason,
        policy_version=policy_version,
    )


def make_group(texts: Sequence[str], prompt: Prompt | None = None, **sample: Any) -> Group:
    prompt = prompt or Prompt(id="p", messages=({"role": "user", "content": "?"},), task="math", reference="1")
    return Group(
        prompt=prompt,
        prompt_token_ids=(1,),
        think_block="none",
        samples=tuple(make_sample(text, **sample) for text in texts),
    )


def make_scored(scores: Sequence[float | None], **sample: Any) -> ScoredGroup:
    rewards = tuple(RewardResult(score=score, status="error" if score is None else "ok") for score in scores)
    return ScoredGroup(group=make_group(["x"] * len(scores), **sample), rewards=rewards, draw=0)


class FakeSampler:
    """Answers with `answers(prompt)`, one text a sample, and keeps the seed that each prompt was sampled with."""

    def __init__(self, answers: Callable[[Prompt], Sequence[str]], think_block: ThinkBlock = "none") -> None:
        self.answers, self.think_block = answers, think_block
        self.seeds: list[tuple[str, int]] = []

    async def sample(self, prompt: Prompt, *, params: SamplingParams, num_samples: int, seed: int) -> Group:
        self.seeds.append((prompt.id, seed))
        texts = self.answers(prompt)
        assert len(texts) == num_samples, "one text a sample"
        return dataclasses.replace(make_group(texts, prompt), think_block=self.think_block)


class FakeTeacher:
    """Gives each token minus its id as its log-prob, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    async def score(self, prompt: Prompt, token_ids: tuple[int, ...]) -> list[float]:
        self.asked.append(token_ids)
        return [-float(token) for token in token_ids[1:]]


class FakeScorer:
    """1 for the reference, 0 for anything else; lenient strips an "answer: " first.

    "broken" has no score, "late" one after an hour, and "lost" loses the scorer itself. Keeps the requests.
    Whatever has a score has `components`.
    """

    def __init__(self, **components: float) -> None:
        self.components = components
        self.requests: list[RewardRequest] = []

    async def score(self, requests: list[RewardRequest]) -> list[RewardResult]:
        self.requests += requests
        if "late" in [request.response for request in requests]:
            await asyncio.sleep(3600)
        return [self._judge(request) for request in requests]

    def _judge(self, request: RewardRequest) -> RewardResult:
        text = str(request.response)
        if text == "lost":
            raise ConnectionError("the scorer is gone")
        if text == "broken":
            return RewardResult(score=None, status="error")
        if request.params.get("extract") == "lenient":
            text = text.removeprefix("answer: ")
        return RewardResult(score=float(text == request.reference), extracted=text, components=self.components)


class FakeTasks:
    """The result that each task gives, whatever is asked; keeps the requests, and which were under way at once."""

    def __init__(self, **results: RewardResult | float) -> None:
        self.results = {
            name: result if isinstance(result, RewardResult) else RewardResult(score=result, reason=f"by {name}")
            for name, result in results.items()
        }
        self.requests: list[RewardRequest] = []
        self.rounds: list[set[str]] = []

    async def __call__(self, request: RewardRequest) -> RewardResult:
        if not self.requests or self._round is None:
            self._round: set[str] | None = set()
            self.rounds.append(self._round)
        self._round.add(request.task)
        self.requests.append(request)
        await asyncio.sleep(0)
        self._round = None
        return self.results[request.task].model_copy(update={"version": "1"})


class FakeEvalLog:
    """Keeps what an evaluation reports."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, int, int]] = []
        self.rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.messages: list[str] = []

    def stage(self, text: str) -> None:
        pass

    def message(self, text: str) -> None:
        self.messages.append(text)

    def timer(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def progress(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self.shown.append((name, done, total))

    def read_eval_rows(self, name: str, step: int) -> list[dict[str, Any]]:
        return self.rows.get((name, step), [])

    def append_eval_row(self, name: str, step: int, row: dict[str, Any]) -> None:
        self.rows[name, step].append(row)

    def write_eval_rows(self, name: str, step: int, rows: Sequence[dict[str, Any]]) -> None:
        self.rows[name, step] = list(rows)


class FakeStream:
    """Prompts without end; remembers what was drawn and rejected."""

    def __init__(self) -> None:
        self.num_drawn = 0
        self.rejected: list[int] = []

    def draw(self) -> Draw:
        index = self.num_drawn
        self.num_drawn += 1
        messages = ({"role": "user", "content": str(index)},)
        return Draw(index, Prompt(id=f"p{index}", messages=messages, task="math", reference="1"))

    def mark_rejected(self, index: int) -> None:
        self.rejected.append(index)


class FakeCollect:
    """Groups that take random times, under a version that the test raises; some are without signal, some fail."""

    def __init__(self, seed: int, flat_rate: float = 0.0, unscored_rate: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.version = 0
        self.flat_rate, self.unscored_rate = flat_rate, unscored_rate
        self.under_way = self.most_under_way = 0

    async def __call__(self, draw: Draw) -> ScoredGroup:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        version, kind = self.version, self.rng.random()
        for _ in range(self.rng.choice((0, 1, 1, 2, 30))):
            await asyncio.sleep(0)
        self.under_way -= 1
        scores: list[float | None] = [0.0, 1.0]
        if kind < self.flat_rate:
            scores = [1.0, 1.0]
        elif kind < self.flat_rate + self.unscored_rate:
            scores = [None, 1.0]
        group = make_group(["a", "b"], draw.prompt, policy_version=version)
        rewards = tuple(RewardResult(score=s, status="error" if s is None else "ok", reason="no judge") for s in scores)
        return ScoredGroup(group=group, rewards=rewards, draw=draw.index)


class GatedCollect:
    """Groups that come when the test opens them."""

    def __init__(self) -> None:
        self._events: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def __call__(self, draw: Draw) -> ScoredGroup:
        await self._events[draw.index].wait()
        return dataclasses.replace(make_scored([0.0, 1.0]), draw=draw.index)

    def open(self, *draws: int) -> None:
        for index in draws:
            self._events[index].set()


class FakeLearner:
    """A learner of one number: it sends three buckets and saves one file, and may fail while it does."""

    num_ranks, updates_per_step = 1, 1
    broadcasts = False

    def __init__(self, save_error: Exception | None = None) -> None:
        self.save_error = save_error
        self.value = 0
        self.num_sent = 0

    async def update(self, batch: TrainBatch) -> StepMetrics:
        self.value += 1
        return {}

    async def weights(self, engines: Sequence[EngineHandle]) -> AsyncGenerator[Bucket, None]:
        for index in range(3):
            self.num_sent += 1
            yield {"index": index, "value": self.value}

    async def save(self, folder: Path) -> None:
        (folder / "weights").write_text(str(self.value))
        if self.save_error is not None:
            raise self.save_error

    async def load(self, folder: Path) -> None:
        self.value = int((folder / "weights").read_text())


class FakePart:
    """A part whose state is one number."""

    def __init__(self) -> None:
        self.count = 0

    def state(self) -> dict[str, Any]:
        return {"count": self.count}

    def load(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class FakeEngine:
    """An engine that answers after `delay_s`, hangs at the calls named, and dies (or raises `error`) at one of them."""

    def __init__(
        self,
        name: str,
        *,
        delay_s: float = 0.0,
        dies_at: str = "",
        hangs_at: tuple[str, ...] = (),
        error: Exception | None = None,
    ) -> None:
        self.name, self.delay_s, self.dies_at, self.hangs_at, self.error = name, delay_s, dies_at, hangs_at, error
        self.num_workers = 1
        self.groups: list[dict[str, Any]] = []
        self.version = 0
        self.served: list[tuple[int, ...]] = []
        self.buckets: list[Bucket] = []
        self.killed = self.sleeps = False

    async def _maybe_die(self, call: str) -> None:
        if call in self.hangs_at:
            await asyncio.sleep(3600)
        if self.killed or self.dies_at == call:
            raise self.error or EngineLost(f"{self.name} died at {call}")

    async def generate(
        self,
        prompt_token_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        num_samples: int,
        seed: int,
        budget: Any = None,
    ) -> tuple[int, list[Completion]]:
        version = self.version
        await asyncio.sleep(self.delay_s)
        await self._maybe_die("generate")
        self.served.append(prompt_token_ids)
        return version, [Completion((seed % 100,), (-0.5,), f"text {n}", "stop") for n in range(num_samples)]

    async def score(self, token_ids: tuple[int, ...]) -> list[float]:
        await self._maybe_die("score")
        self.served.append(token_ids)
        return [-0.5] * (len(token_ids) - 1)

    async def progress(self) -> int:
        await self._maybe_die("progress")
        return 0 if "generate" in self.hangs_at else time.monotonic_ns()

    async def sleep(self) -> None:
        await self._maybe_die("sleep")
        self.sleeps = True

    async def join_group(self, group: dict[str, Any]) -> None:
        await self._maybe_die("join_group")
        self.groups.append(group)

    async def begin_update(self) -> None:
        await self._maybe_die("begin_update")
        self.sleeps = False
        self.buckets.clear()

    async def load_bucket(self, bucket: Bucket) -> None:
        await self._maybe_die("load_bucket")
        self.buckets.append(bucket)

    async def end_update(self, version: int) -> None:
        await self._maybe_die("end_update")
        self.version = version

    def kill(self) -> None:
        self.killed = True

    async def end(self) -> None:
        self.kill()


class FakePolicy(FakeEngine):
    """An engine that says `say(text so far, seed)`, in a real tokenizer's tokens, and then its stop token.

    What exceeds `max_tokens` is cut off. `versions` are the weights' of its calls, in order, and 0 after the last.
    """

    def __init__(self, chat: Chat, say: Callable[[str, int], str], versions: Sequence[int] = ()) -> None:
        super().__init__("policy")
        self.chat, self.say, self.versions = chat, say, list(versions)
        self.stop = chat.tokenizer.convert_tokens_to_ids("<|im_end|>")

    async def generate(
        self,
        prompt_token_ids: tuple[int, ...],
        params: SamplingParams,
        *,
        num_samples: int,
        seed: int,
        budget: Any = None,
    ) -> tuple[int, list[Completion]]:
        self.served.append(prompt_token_ids)
        version = self.versions.pop(0) if self.versions else 0
        so_far = self.chat.tokenizer.decode(prompt_token_ids)
        await asyncio.sleep(random.random() / 100)  # whoever comes first must not matter
        return version, [self._complete(self.say(so_far, seed + n), params.max_tokens) for n in range(num_samples)]

    def _complete(self, text: str, max_tokens: int) -> Completion:
        ids = (*self.chat.tokenizer.encode(text, add_special_tokens=False), self.stop)
        kept, is_whole = ids[:max_tokens], len(ids) <= max_tokens
        shown = self.chat.tokenizer.decode(kept, skip_special_tokens=True)
        return Completion(kept, (-0.25,) * len(kept), shown, "stop" if is_whole else "length")


class FakeEnvironment:
    """Answers a turn with `answer(text)`, whatever that does; tells `closed` of its end."""

    def __init__(self, answer: Callable[[str], Any], closed: list[str]) -> None:
        self.answer, self.closed = answer, closed

    def step(self, text: str) -> Any:
        return self.answer(text)

    def close(self) -> None:
        self.closed.append("closed")


def open_environment_sampler(policy: FakePolicy, make: Callable[..., Any], *, context: int = 4096) -> Sampler:
    """A sampler over one policy in this process, all of whose prompts have the environment that `make` makes."""

    async def start(index: int) -> FakeEngine:
        raise EngineLost(f"engine {index} cannot be started")

    config = EngineConfig(max_context_tokens=context)
    return EnvironmentSampler([policy], policy.chat, config, start, lambda name: make)


class FakeChat:
    """One token a character."""

    def render(self, prompt: Prompt) -> tuple[int, ...]:
        return tuple(map(ord, prompt.messages[-1]["content"]))

    def think_block(self, prompt_token_ids: Sequence[int]) -> ThinkBlock:
        return "none"


def open_fake_sampler(
    engines: Sequence[FakeEngine],
    replacements: Sequence[FakeEngine] = (),
    *,
    stall_timeout_s: float = 0.2,
    start_timeout_s: float = 5,
    start_delay_s: float = 0,
    on_start: Callable[[], None] = lambda: None,
) -> Sampler:
    """A sampler over engines in this process; each restart takes the next replacement, for whichever seat."""
    waiting = list(replacements)

    async def start(index: int) -> FakeEngine:
        if not waiting:
            raise EngineLost(f"engine {index} cannot be started")
        engine = waiting.pop(0)
        on_start()
        await asyncio.sleep(start_delay_s)
        return engine

    config = EngineConfig(max_context_tokens=64, stall_timeout_s=stall_timeout_s, start_timeout_s=start_timeout_s)
    return Sampler(list(engines), FakeChat(), config, start)  # type: ignore[arg-type]


class FakeModelServer:
    """A judge and a preference model over HTTP, on loopback, which behave as the script says.

    Each request takes the next word of `script`, and `answer` after the last one; after `hold` answers are kept back
    until `release`. Each answer carries `answer_headers`. Used by `with`; `requests` are the bodies received, `headers`
    those of each, `times_s` when they came.
    """

    WORDS = (
        "answer",
        "hang",
        "late",
        "drip",
        "close",
        "garbage",
        "wrong schema",
        "empty choices",
        "flood",
        "quote key",
    )

    def __init__(
        self, script: Sequence[str] = (), *, content: str = '{"verdict": "correct"}', logit: Any = 0.5
    ) -> None:
        assert all(word in self.WORDS or word.isdigit() for word in script), "words of WORDS, or a status"
        self.script, self.content, self.logit = list(script), content, logit
        self.held = False
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times_s: list[float] = []
        self.answer_headers: dict[str, str] = {}
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.handle_error = lambda *_: None  # clients that give up, which is what many tests are about
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "FakeModelServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def hold(self) -> None:
        self._released.clear()
        self.held = True

    def release(self) -> None:
        self.held = False
        self._released.set()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                word = fake._begin(self.path, dict(self.headers), body)
                try:
                    with suppress(BrokenPipeError, ConnectionResetError):  # the client may have given up
                        fake._behave(self, word)
                finally:
                    with fake._lock:
                        fake.under_way -= 1

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def _begin(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> str:
        with self._lock:
            self.paths.append(path)
            self.headers.append(headers)
            self.requests.append(body)
            self.times_s.append(time.monotonic())
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            return self.script.pop(0) if self.script else "answer"

    def _behave(self, handler: BaseHTTPRequestHandler, word: str) -> None:
        if self.held:
            self._released.wait(60)
        if word == "hang":
            self._ended.wait(60)
        if word in ("hang", "close"):
            handler.close_connection = True
            return
        if word == "late":
            self._ended.wait(0.4)
        status = int(word) if word.isdigit() else 401 if word == "quote key" else 200
        quoted = handler.headers.get("Authorization", "").encode()
        text = quoted if word == "quote key" else self._text(handler.path, word)
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        for name, value in self.answer_headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if word != "drip":
            handler.wfile.write(text)
            return
        for byte in text:
            handler.wfile.write(bytes([byte]))
            if self._ended.wait(0.1):
                return

    def _text(self, path: str, word: str) -> bytes:
        if word == "garbage":
            return b"<html>Bad gateway</html>"
        if word == "flood":
            return b'{"choices": "' + b"x" * 2**21 + b'"}'
        if word.isdigit():
            return b'{"error": "scripted"}'
        if path == "/classify":
            probs = [0.5, 0.5] if word == "wrong schema" else [self.logit]
            return json.dumps({"data": [{"index": 0, "probs": probs}]}).encode()
        choices: list[dict[str, Any]] = [{"message": {"role": "assistant", "content": self.content}}]
        if word == "wrong schema":
            choices = [{"text": self.content}]
        return json.dumps({"choices": [] if word == "empty choices" else choices}).encode()


class FakeService:
    """An HTTP server that answers each request with the next of `answers`: status, headers, and the body's parts.

    A part is bytes to send, a number of seconds to wait, or None: the connection breaks.
    """

    def __init__(
        self, answers: Sequence[tuple[int, dict[str, str], Sequence[bytes | float | None]]], *, port: int = 0
    ) -> None:
        self.bodies: list[Any] = []
        waiting = list(answers)
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_error(404)

            def do_POST(self) -> None:
                bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, headers, parts = waiting.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in parts:
                    if part is None:
                        self.connection.close()
                        return
                    if isinstance(part, bytes):
                        self.wfile.write(part)
                        self.wfile.flush()
                    else:
                        time.sleep(part)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FakeService":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


FAKE_LEAN = """#!{python}
import json, os, sys, time
source = open(sys.argv[-1], encoding="utf-8").read()
lines = source.splitlines()
def say(severity, line, data):
    print(json.dumps(dict(severity=severity, pos=dict(line=line, column=0), data=data)), flush=True)
name = lines[-1].removeprefix("#print axioms ")
clean = f"'{{name}}' does not depend on any axioms"
if "hangs" in source: time.sleep(600)
if "dies" in source: os.kill(os.getpid(), 9)
if "floods" in source:
    while True: print("x" * 10**6, flush=True)
if "wrong_statement" in source: say("error", 2, "unknown identifier")
if "fails" in source: say("error", len(lines) - 2, "unsolved goals")
if "traces" in source: say("information", 4, clean)
elif "native" in source: say("information", len(lines), f"'{{name}}' depends on axioms: [propext, Lean.bad]")
elif "classical" in source: say("information", len(lines), f"'{{name}}' depends on axioms: [propext,\\n Quot.sound]")
elif "garbage" in source: print('{{"pos": 1}} [NaN'); say("information", len(lines), clean)
else: say("information", len(lines), clean)
sys.exit(int("fails" in source))
"""


def write_fake_lean(path: Path) -> str:
    """A program that speaks like `lean --json`, and does what words in the proof say."""
    path.write_text(FAKE_LEAN.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


class FakeActor:
    """An actor of Ray's with these methods; what they answer is awaited, as references are."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        for name, function in methods.items():
            setattr(self, name, SimpleNamespace(remote=function))
