"""The network of a pretraining run, from its configuration or from a model source: with its weights, or without."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from models.lm import Architecture, build, configuration, outline
from models.memory import exhausted
from models.parallel import Alone
from tasks.errors import StageError
from tasks.output import Output
from tasks.pretrain.stage import PretrainConfig
from tasks.weights import pretrained_config, pretrained_model

T = TypeVar("T")


def initial(cfg: PretrainConfig, out: Output, tokenizer: Any) -> nn.Module:
    """With the weights that training begins with, fp32.

    Raises:
        StageError: transformers cannot build the architecture.
    """
    if cfg.init_from is not None:
        return pretrained_model(cfg.init_from, out.state, len(tokenizer))
    return _built(cfg, lambda: build(*_architecture(cfg, tokenizer), cfg.seed))


def shared(cfg: PretrainConfig, out: Output, tokenizer: Any, parallel: Alone) -> nn.Module:
    """The same on the first rank; on the others its shapes, to be filled from there (`parallel.prepare`).

    Raises:
        StageError: transformers cannot build the architecture.
    """
    built: list[nn.Module] = []

    def build_and_tell() -> Any:
        built.append(initial(cfg, out, tokenizer))
        return built[0].config

    config = parallel.by_the_first(build_and_tell)
    return built[0] if built else outline(config)


def outlined(cfg: PretrainConfig, out: Output, tokenizer: Any) -> nn.Module:
    """The same network on the meta device: modules, shapes and settings.

    Raises:
        StageError: transformers cannot build the architecture.
    """
    if cfg.init_from is not None:
        return outline(pretrained_config(cfg.init_from, out.state))
    return _built(cfg, lambda: outline(configuration(*_architecture(cfg, tokenizer))))


def _architecture(cfg: PretrainConfig, tokenizer: Any) -> tuple[Architecture, int, int, int]:
    architecture = Architecture(
        vocab_size=len(tokenizer),
        hidden_size=cfg.hidden_size,
        layers=cfg.layers,
        heads=cfg.heads,
        kv_heads=cfg.kv_heads,
        intermediate_size=cfg.intermediate_size,
        context=cfg.context,
        tie_embeddings=cfg.tie_embeddings,
        kind=cfg.architecture,
    )
    return architecture, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id


def _built(cfg: PretrainConfig, make: Callable[[], T]) -> T:
    try:
        return make()
    except Exception as problem:  # whatever a network's own code says to sizes that it does not take
        if exhausted(problem):
            raise
        raise StageError(
            f"pretrain.architecture: {cfg.architecture!r} cannot be built: {problem}; expected a model type of "
            "transformers that AutoModelForCausalLM knows, such as internlm3, llama or qwen3"
        ) from problem
