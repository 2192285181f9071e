"""SharpenReward in TRL's own trainer."""

import math

import pytest

from rewards.adapters.trl import SharpenReward, read_completion

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

ROWS = [{"prompt": "3 + 4?", "solution": "7"}, {"prompt": "4 + 4?", "solution": "8"}]
CHAT = [{"prompt": [{"role": "user", "content": row["prompt"]}], "solution": row["solution"]} for row in ROWS]


def open_trainer(tiny_model, folder, rows, reward, **settings):
    config = trl.GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=4,
        max_steps=1,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    data = datasets.Dataset.from_list(rows)
    return trl.GRPOTrainer(model=str(tiny_model), reward_funcs=reward, args=config, train_dataset=data)


@pytest.mark.parametrize("rows", [ROWS, CHAT], ids=["texts", "conversations"])
def test_its_trainer_reads_our_numbers(tiny_model, tmp_path, rows):
    trainer = open_trainer(tiny_model, tmp_path, rows, SharpenReward("math", reference="solution"))
    texts = ["\\boxed{7}", "\\boxed{7}", "\\boxed{8}"]
    completions = [[{"role": "assistant", "content": text}] for text in texts] if rows is CHAT else texts
    inputs = [rows[0], rows[1], {"prompt": rows[0]["prompt"], "solution": None}]
    prompts = [row["prompt"] for row in inputs]
    scores = trainer._calculate_rewards(inputs, prompts, completions, [[1]] * 3)
    assert scores[:2, 0].tolist() == [1, 0]
    assert math.isnan(scores[2, 0]), "TRL's sign of a completion without a score"


def test_its_trainer_trains_with_our_reward(tiny_model, tmp_path):
    reward = SharpenReward("length_control", reference="target", params={"unit": "words"})
    rows = [row | {"target": 3} for row in ROWS]
    trainer = open_trainer(tiny_model, tmp_path, rows, reward)
    trainer.train()
    (logged,) = [row for row in trainer.state.log_history if "reward" in row]
    assert 0 <= logged["rewards/sharpen_length_control/mean"] <= 1
    assert logged["sharpen_length_control/unscored_rate"] == 0


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 4}}\n</tool_call>'
PARSED_CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 3, "b": 4}}}


@pytest.mark.parametrize(
    ("sampled", "response"),
    [
        ("<think>\n3 + 4\n</think>\n\n7", "<think>\n3 + 4\n</think>\n\n7"),
        ("<think>\nnever ends", "<think>\nnever ends"),
        ("7", "7"),
        (
            f"<think>\nadd\n</think>\n\n{CALL}",
            [{"role": "assistant", "content": "<think>\nadd\n</think>\n\n", "tool_calls": [PARSED_CALL]}],
        ),
    ],
)
def test_what_trl_parses_of_qwen3_is_read_as_it_was_sampled(qwen3_tokenizer, sampled, response):
    transformers = pytest.importorskip("transformers")
    utils = pytest.importorskip("trl.chat_template_utils")
    tokenizer = transformers.AutoTokenizer.from_pretrained(qwen3_tokenizer)
    tokenizer.chat_template = utils.qwen3_chat_template
    tokenizer = utils.add_response_schema(tokenizer)
    parsed = utils.parse_response(tokenizer, tokenizer.encode(f"{sampled}<|im_end|>"))
    assert read_completion([parsed]) == response
