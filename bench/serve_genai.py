"""onnxruntime-genai's Engine on the same prompts, in process; prints tokens and seconds. Runs in .venv-bench."""

import json
import sys
import time

import onnxruntime_genai as og


def main() -> None:
    job = json.loads(sys.stdin.read())
    model = og.Model(job["model"])
    engine, tokens, started = og.Engine(model), 0, time.perf_counter()
    requests = []
    for prompt in job["prompts"]:
        params = og.GeneratorParams(model)
        longest = len(prompt) + job["tokens"]
        params.set_search_options(do_sample=False, max_length=longest, min_length=longest)
        request = og.Request(params)
        request.add_tokens(prompt)
        engine.add_request(request)
        requests.append(request)
    while ready := engine.step():
        while ready.has_unseen_tokens():
            ready.get_unseen_token()
            tokens += 1
    print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
