"""Every stage and its configuration, in the order of the chain."""

from tasks.align import AlignConfig, align
from tasks.apply import ApplyConfig, apply
from tasks.corpus import CorpusConfig, corpus
from tasks.evaluate import EvaluateConfig, evaluate
from tasks.finetune import FinetuneConfig, finetune
from tasks.pretrain import PretrainConfig, pretrain
from tasks.quantize import QuantizeConfig, quantize
from tasks.release import ReleaseConfig, release
from tasks.report import ReportConfig, report
from tasks.tokenizer import TokenizerConfig, tokenizer
from tasks.tokens import TokensConfig, tokens

__all__ = [
    "AlignConfig", "ApplyConfig", "CorpusConfig", "EvaluateConfig", "FinetuneConfig", "PretrainConfig",
    "QuantizeConfig", "ReleaseConfig", "ReportConfig", "TokenizerConfig", "TokensConfig",
    "align", "apply", "corpus", "evaluate", "finetune", "pretrain", "quantize", "release", "report",
    "tokenizer", "tokens",
]  # fmt: skip
