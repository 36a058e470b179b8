"""lm-evaluation-harness asks the server as it asks OpenAI's."""

import json
import os
import subprocess
import sys

import pytest

from tests import tiny

TASK = """
task: by_heart
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["<|im_end|>"], max_gen_toks: 64, temperature: 0}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@pytest.mark.slow
def test_local_chat_completions_scores_what_the_model_knows_by_heart(url, tmp_path):
    items = [(tiny.GREETING, tiny.GREETED), (tiny.POEM_REQUEST, tiny.POEM), (tiny.GREETING, "something else")]
    lines = [json.dumps({"question": question, "answer": answer}, ensure_ascii=False) for question, answer in items]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    (tmp_path / "by_heart.yaml").write_text(TASK.format(items=tmp_path / "items.jsonl"))
    offline = {
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OPENAI_API_KEY": "-",
    }
    command = [sys.executable, "-m", "lm_eval", "--model", "local-chat-completions", "--apply_chat_template"]
    command += ["--model_args", f"model=tiny,base_url={url}/v1/chat/completions,num_concurrent=2"]
    command += ["--tasks", "by_heart", "--include_path", str(tmp_path), "--output_path", str(tmp_path / "results.json")]
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (written,) = tmp_path.rglob("results*.json")
    assert json.loads(written.read_text())["results"]["by_heart"]["exact_match,none"] == pytest.approx(2 / 3)
