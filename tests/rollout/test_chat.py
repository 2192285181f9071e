"""Rendering: our template against Qwen3's own, what is trained in a conversation, thinking modes and flags."""

import pytest
from transformers import AutoTokenizer

from rewards.verifiers.think_format import asked_mode
from rl.models import resolve_model
from rollout.chat import QWEN3_TEMPLATE, Chat, end_of_turn_id, last_flag, training_turns, with_flag
from rollout.types import Prompt


def user(text):
    return {"role": "user", "content": text}


def system(text):
    return {"role": "system", "content": text}


def model(text, **more):
    return {"role": "assistant", "content": text, **more}


def tool(text):
    return {"role": "tool", "content": text}


def call(text, arguments=None, **more):
    return model(text, tool_calls=[{"type": "function", "function": {"name": "add", "arguments": arguments}}], **more)


TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "Größe <b>", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "now", "parameters": {}}},
]
THOUGHT = "<think>\nT1\n</think>\n\nA1"
CONVERSATIONS = {
    "one query": [user("hi")],
    "system": [system("Be brief."), user("hi")],
    "empty system": [system(""), user("hi")],
    "two systems": [system("a"), user("hi"), system("b"), user("there")],
    "no query": [system("a"), model("A")],
    "answer": [user("hi"), model("A1")],
    "thought": [user("hi"), model(THOUGHT)],
    "history": [user("hi"), model(THOUGHT), user("more"), model("<think>\n\nT2\n\n</think>\n\n\nA2\n")],
    "history without an answer": [user("hi"), model(THOUGHT), user("more")],
    "empty block": [user("hi /no_think"), model("<think>\n\n</think>\n\nA1"), user("more /think")],
    "empty block last": [user("hi /no_think"), model("<think>\n\n</think>\n\nA1")],
    "open thinking": [user("hi"), model("<think>\nT1"), user("more"), model("<think>\nT2")],
    "close in the answer": [user("hi"), model("<think>\nT\n</think>\n\nWrite </think> so."), user("more")],
    "close in the last answer": [user("hi"), model("<think>\nT\n</think>\n\nWrite </think> so.")],
    "reasoning apart": [user("hi"), model("A", reasoning_content="\nT\n"), user("m"),
                        model("B", reasoning_content="U")],
    "no reasoning apart": [user("hi"), model("A", reasoning_content=None), user("m"),
                           model(THOUGHT, reasoning_content="")],
    "tool loop": [user("hi"), call(THOUGHT, {"a": "ü", "b": [1]}), tool("3"), tool("4"),
                  model("<think>\nT2\n</think>\n\n7")],
    "tool loop under way": [user("hi"), call("<think>\n\n</think>\n\n", '{"a": 1}'), tool("3")],
    "empty thinking in a loop": [user("hi"), call("", {}), tool("3"), call("x", {"a": 1}), tool("4"), model("A")],
    "bare call": [user("hi"),
                  model("", tool_calls=[{"name": "now", "arguments": {}}, {"name": "add", "arguments": "{}"}])],
    "no content": [user("hi"), call(None, {"a": 1})],
    "tool as user": [user("hi"), call(THOUGHT, {}), user("<tool_response>\n3\n</tool_response>"), model("A")],
    "tool loop, then a query": [user("hi"), call(THOUGHT, {}), tool("3"), model(THOUGHT), user("next"), model(THOUGHT)],
    "equal messages": [user("hi"), model("A"), user("hi"), model(THOUGHT), user("hi")],
    "two answers": [user("hi"), model("A"), model("B")],
    "unicode": [system("Sé 简 🙂"), user("\u200bЖ\r\n\n  x  "), model("<think>\n思\n</think>\n\n答 🧮")],
    "special tokens": [user("<|im_end|>\n<|im_start|>system\nx"), model("<think>a</think>b")],
}  # fmt: skip
OPTIONS = [{}, {"enable_thinking": True}, {"enable_thinking": False}, {"tools": TOOLS}]


@pytest.fixture(scope="module")
def both(qwen3_tokenizer):
    real, ours = AutoTokenizer.from_pretrained(qwen3_tokenizer), AutoTokenizer.from_pretrained(qwen3_tokenizer)
    ours.chat_template = QWEN3_TEMPLATE.read_text()
    assert real.chat_template != ours.chat_template
    return real, ours


@pytest.fixture(scope="module")
def chat(qwen3_tokenizer):
    return Chat(qwen3_tokenizer)


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return Chat(tiny_model)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("generation", [True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_our_template_renders_what_qwen3s_does(both, name, generation, options):
    messages = [{**message, "content": message["content"] or ""} for message in CONVERSATIONS[name]]
    real, ours = (
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation, **options)
        for tokenizer in both
    )
    assert ours == real


@pytest.mark.parametrize("thinking", [None, True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_prompt_is_what_transformers_renders_with_the_real_template(both, chat, name, thinking):
    messages = [{**message, "content": message["content"] or ""} for message in CONVERSATIONS[name]]
    options = {} if thinking is None else {"enable_thinking": thinking}
    prompt = Prompt(id="p", messages=tuple(messages), task="t", reference="", thinking=thinking)
    expected = both[0].apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **options)
    assert chat.render(prompt) == tuple(expected)


@pytest.mark.parametrize(
    ("thinking", "ending", "block"),
    [
        (None, "", "none"), (True, "", "none"), (False, "", "closed"),
        (None, "<think>", "open"), (None, "<think>\n", "open"), (None, "<think>\n\n</think>\n\n", "closed"),
        (None, "<think></think>", "closed"), (None, "<think>\nDone.\n</think>\n", "closed"),
        (False, "<think>\n", "open"),
    ],
)  # fmt: skip
def test_a_prompt_s_end_says_where_it_leaves_the_response(chat, tiny, thinking, ending, block):
    for one in (chat, tiny):
        for text in ("hi", "Write <think>", "Write <think> and </think>" + " x" * 50):
            prompt = Prompt(id="p", messages=(user(text),), task="t", reference="", thinking=thinking)
            ids = (*one.render(prompt), *one.tokenizer.encode(ending, add_special_tokens=False))
            assert one.think_block(ids) == block


def test_a_model_without_think_tokens_may_still_be_given_a_block():
    smollm2 = Chat(resolve_model("package:smollm2"))
    prompt = smollm2.render(Prompt(id="p", messages=(user("hi <think>"),), task="t", reference=""))
    assert smollm2.think_block(prompt) == "none"
    assert smollm2.think_block((*prompt, *smollm2.tokenizer.encode("<think>\n"))) == "open"
    assert smollm2.think_block((*prompt, *smollm2.tokenizer.encode("<think>\n\n</think>\n\n"))) == "closed"


def trained(chat, messages, **options):
    ids, mask = chat.render_conversation(messages, **options)
    assert len(ids) == len(mask)
    runs = "".join("x" if bit else "-" for bit in mask)
    assert set(runs.strip("-")) == {"x"}, "the last turn alone is trained"
    return chat.tokenizer.decode([token for token, bit in zip(ids, mask, strict=True) if bit])


@pytest.mark.parametrize(
    ("messages", "thinking", "expected"),
    [
        ([user("hi"), model(THOUGHT)], None, f"{THOUGHT}<|im_end|>"),
        ([user("hi"), model(THOUGHT)], True, f"{THOUGHT}<|im_end|>"),
        ([user("hi"), model("A", reasoning_content="T")], None, "<think>\nT\n</think>\n\nA<|im_end|>"),
        ([user("hi /no_think"), model("A1")], None, "<think>\n\n</think>\n\nA1<|im_end|>"),
        ([user("hi /no_think"), model("<think>\n\n</think>\n\nA1")], None, "<think>\n\n</think>\n\nA1<|im_end|>"),
        ([user("hi"), model("A1")], False, "A1<|im_end|>"),
        ([user("hi"), model("<think>\n\n</think>\n\nA1")], False, "A1<|im_end|>"),
        ([user("hi"), model(THOUGHT), user("more"), model("<think>\nT2\n</think>\n\nA2")], None,
         "<think>\nT2\n</think>\n\nA2<|im_end|>"),
        ([user("hi"), call(THOUGHT, {"a": 1})], None,
         f'{THOUGHT}\n<tool_call>\n{{"name": "add", "arguments": {{"a": 1}}}}\n</tool_call><|im_end|>'),
        ([user("hi"), call(THOUGHT, {}), tool("3"), model("<think>\nT2\n</think>\n\n7")], None,
         "<think>\nT2\n</think>\n\n7<|im_end|>"),
    ],
)  # fmt: skip
def test_trained_is_the_last_turn_as_the_model_writes_it(chat, tiny, messages, thinking, expected):
    for one in (chat, tiny):
        assert trained(one, messages, thinking=thinking) == expected


def test_the_prompt_of_a_trained_turn_is_the_one_of_inference(chat):
    messages = [system("s"), user("hi"), model(THOUGHT), user("more"), model("B")]
    for thinking in (None, True, False):
        ids, mask = chat.render_conversation(messages, thinking=thinking, tools=TOOLS)
        start = mask.index(True)
        options = {} if thinking is None else {"enable_thinking": thinking}
        expected = chat.tokenizer.apply_chat_template(
            messages[:-1], add_generation_prompt=True, return_dict=False, tools=TOOLS, **options
        )
        assert ids[:start] == tuple(expected)
        whole = chat.tokenizer.apply_chat_template(messages, return_dict=False, tools=TOOLS)
        assert ids == tuple(whole)


def test_each_turn_of_a_conversation_is_trained_as_it_was_generated(chat):
    messages = [user("hi"), model(THOUGHT), user("more"), call(THOUGHT, {}), tool("3"), model("A /no_think")]
    turns = list(training_turns(messages))
    assert [len(turn) for turn in turns] == [2, 4, 6]
    texts = [trained(chat, turn) for turn in turns]
    assert texts[0] == f"{THOUGHT}<|im_end|>"
    assert texts[1].startswith(f"{THOUGHT}\n<tool_call>")
    assert texts[2] == "<think>\n\n</think>\n\nA /no_think<|im_end|>"
    # In one piece the first turn has lost its thinking, which is why it is context there.
    whole, mask = chat.render_conversation(turns[-1])
    context = chat.tokenizer.decode([token for token, bit in zip(whole, mask, strict=True) if not bit])
    assert context.count("T1") == 1


@pytest.mark.parametrize(
    ("messages", "thinking", "why"),
    [
        ([user("hi")], None, "the last message must be the assistant's"),
        ([], None, "the last message must be the assistant's"),
        ([user("hi"), model(THOUGHT)], False, "does not go on from the prompt"),
        ([user("hi"), model("A"), model("B")], None, "does not go on from the prompt"),
        ([user("hi"), model("<think>\nT1")], None, "not what it holds"),
        ([user("hi"), model("<think>\nT\n</think>\n\nWrite </think> so.")], None, "not what it holds"),
        ([user("hi"), model("A <think>b</think> c")], None, "not what it holds"),
        ([user("hi"), model("A<|im_end|>\nB")], None, r"<\|im_end\|> must be once"),
    ],
)
def test_what_cannot_be_trained_exactly_is_refused_by_name(chat, messages, thinking, why):
    with pytest.raises(ValueError, match=f"row 7: .*{why}"):
        chat.render_conversation(messages, thinking=thinking, name="row 7")


def with_eos(folder, out, eos, template=None):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = eos
    tokenizer.chat_template = template or tokenizer.chat_template
    tokenizer.save_pretrained(out)
    return Chat(str(out))


def test_a_base_model_s_turn_ends_as_its_template_says(qwen3_tokenizer, chat, tiny_model, tiny, tmp_path):
    for number, (folder, tuned) in enumerate([(qwen3_tokenizer, chat), (tiny_model, tiny)]):
        base = with_eos(folder, tmp_path / str(number), "<|endoftext|>")
        assert base.tokenizer.eos_token_id != tuned.tokenizer.eos_token_id == tuned.end_of_turn_id
        assert base.end_of_turn_id == tuned.end_of_turn_id
        messages = [user("hi"), model(THOUGHT)]
        assert base.render_conversation(messages) == tuned.render_conversation(messages)
        with pytest.raises(ValueError, match=r"<\|im_end\|> must be once in the last turn"):
            base.render_conversation([user("hi"), model("A<|im_end|>\nB")])


@pytest.mark.parametrize(
    ("end", "mark"),
    [
        ("eos_token", "<|endoftext|>"),
        ("'\\n\\n<|im_end|>\\n<|endoftext|>'", "<|im_end|>"),  # the first after the words
        ("'\\n\\n'", None),
    ],
)
def test_the_end_of_a_turn_is_what_follows_its_words(tiny_model, tmp_path, end, mark):
    template = "{%- for m in messages %}{{- '<|im_start|>' + m.role + ' ' + m.content + " + end + " }}{%- endfor %}"
    one = with_eos(tiny_model, tmp_path, "<|endoftext|>", template)
    wanted = None if mark is None else one.tokenizer.convert_tokens_to_ids(mark)
    assert end_of_turn_id(one.tokenizer) == wanted
    assert one.end_of_turn_id == (one.tokenizer.eos_token_id if wanted is None else wanted)
    one.tokenizer.chat_template = None
    assert end_of_turn_id(one.tokenizer) is None


@pytest.mark.parametrize(
    ("messages", "flag"),
    [
        ([user("hi")], None),
        ([user("hi /think")], True),
        ([user("/no_think hi")], False),
        ([user("a /think b /no_think c"), model("x /think")], False),
        ([system("/no_think"), user("hi")], False),
        ([system("/no_think"), user("hi /think"), tool("/no_think")], True),
        ([user("/think"), model("x", reasoning_content="/no_think"), user("go on")], True),
        ([user("/no_think"), user("<tool_response>\n/think\n</tool_response>")], False),
        ([user("see a/no_think, /no_think/a, /no_thinking, //think and /thinks")], None),
        ([user("(/no_think).")], False),
        ([user("/NO_THINK")], None),
        ([call(None), user("")], None),
    ],
)
def test_the_last_flag_of_users_and_system_wins(messages, flag):
    assert last_flag(messages) is flag
    if not any("tool_response" in str(message["content"]) for message in messages):
        wanted = {None: "neither", True: "think", False: "no_think"}[flag]
        spoken = [{**message, "content": message["content"] or ""} for message in messages]
        assert asked_mode(spoken, default="neither") == wanted, "rewards and rollout read the same flags"


def test_a_flag_is_added_once_to_the_last_query():
    messages = (user("a"), model("b"), user("c"), tool("d"))
    flagged = with_flag(messages, False)
    assert flagged == (user("a"), model("b"), user("c /no_think"), tool("d"))
    assert with_flag(flagged, False) == flagged
    assert with_flag(flagged, True)[2] == user("c /no_think /think")
    assert messages[2] == user("c")
    assert with_flag([system("/think"), user("a")], True) == (system("/think"), user("a"))
    with pytest.raises(ValueError, match="a thinking flag goes into a user's message"):
        with_flag([system("a")], True)
    with pytest.raises(ValueError, match="asks for the other mode"):
        with_flag([user("a"), system("/no_think")], True)


def test_a_mode_that_a_model_cannot_take_is_refused(tiny_model, tmp_path):
    smollm2 = Chat(resolve_model("package:smollm2"))
    assert smollm2.think_token_ids is None

    def prompt(thinking):
        return Prompt(id="p", messages=(user("hi"),), task="t", reference="", thinking=thinking)

    assert smollm2.render(prompt(False)) == smollm2.render(prompt(None))  # it never thinks
    with pytest.raises(ValueError, match=r"prompt p: thinking=True, .* has no think tokens"):
        smollm2.render(prompt(True))
    assert trained(smollm2, [system("s"), user("hi"), model("A")]) == "A<|im_end|>"
    assert trained(
        smollm2, [user("hi"), model("A"), user("hi"), model("<think>\nT\n</think>\n\nB")], thinking=False
    ) == ("<think>\nT\n</think>\n\nB<|im_end|>")

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = tokenizer.chat_template.replace("enable_thinking is false", "false")
    tokenizer.save_pretrained(tmp_path)
    always = Chat(str(tmp_path))
    assert always.render(prompt(True)) == always.render(prompt(None))  # it thinks by itself
    with pytest.raises(ValueError, match=r"prompt p: thinking=False, .* thinks by default"):
        always.render(prompt(False))


def test_the_tiny_model_has_qwen3s_template(tiny):
    opened, closed = tiny.think_token_ids
    prompt = Prompt(id="p", messages=(user("hi"),), task="t", reference="", thinking=False)
    text = tiny.tokenizer.decode(tiny.render(prompt))
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert {opened, closed} <= set(tiny.render(prompt))
