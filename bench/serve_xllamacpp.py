"""xllamacpp's server, the prebuilt llama.cpp, with the options of llama-server that the bench uses. In .venv-bench."""

import argparse
import signal

import xllamacpp as xllama


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option, kind in (("-m", str), ("--port", int), ("-np", int), ("-c", int), ("-t", int), ("-tb", int)):
        parser.add_argument(option, type=kind, required=True)
    parser.add_argument("-fa", choices=["on"], required=True)
    args = parser.parse_args()
    params = xllama.CommonParams()
    params.model.path, params.port = args.m, args.port
    params.n_parallel, params.n_ctx = args.np, args.c
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = args.t, args.tb
    params.flash_attn_type = xllama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    server = xllama.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
