"""onnxruntime-genai's Engine on the same prompts, in process; prints tokens and seconds. Runs in .venv-bench."""

import json
import sys
import time

import numpy as np
import onnxruntime_genai as og


def main() -> None:
    og.disable_telemetry_events()
    job = json.loads(sys.stdin.read())
    engine = og.Engine(og.Model(job["model"]))
    buffer, tokens, started = engine.create_event_buffer(256), 0, time.perf_counter()
    requests = []
    for prompt in job["prompts"]:
        session = og.RequestOptions()
        session.set_max_session_tokens(len(prompt) + job["tokens"] + 1)
        request = engine.create_request(options=session)
        turn = og.TurnOptions(request)
        turn.set_do_sample(False)
        turn.set_min_generated_tokens(job["tokens"])
        turn.set_max_generated_tokens(job["tokens"])
        request.begin_turn(np.array(prompt, np.int32), turn)
        requests.append(request)
    while engine.has_pending_requests():
        tokens += sum(event.token is not None for event in engine.run(buffer) or ())
    print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
