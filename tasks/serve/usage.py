"""Token counts and log-probabilities in OpenAI's shapes."""

from collections.abc import Sequence
from typing import Any

from models.engine import ChatTokenizer, Finished, Piece


def usage(ends: Sequence[Finished]) -> dict[str, Any]:
    """Tokens of all choices of one prompt."""
    prompt, answer = ends[0].prompt_tokens, sum(end.answer_tokens for end in ends)
    cached = {"cached_tokens": ends[0].cached_tokens}
    counts = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    return counts | {"prompt_tokens_details": cached}


def chat_log_probs(tokenizer: ChatTokenizer, pieces: list[Piece]) -> dict[str, Any]:
    """Natural logarithms of the unchanged model's probabilities, per token of the answer."""
    return {
        "content": [
            _token(tokenizer, piece.choice.token, piece.choice.log_prob)
            | {"top_logprobs": [_token(tokenizer, *alternative) for alternative in piece.choice.alternatives]}
            for piece in pieces
        ]
    }


def completion_log_probs(tokenizer: ChatTokenizer, pieces: list[Piece]) -> dict[str, Any]:
    tokens = [tokenizer.token(piece.choice.token) for piece in pieces]
    return {
        "tokens": tokens,
        "token_logprobs": [piece.choice.log_prob for piece in pieces],
        "top_logprobs": [
            {tokenizer.token(token): log_prob for token, log_prob in piece.choice.alternatives} for piece in pieces
        ],
        "text_offset": [sum(map(len, tokens[:position])) for position in range(len(tokens))],
    }


def _token(tokenizer: ChatTokenizer, token: int, log_prob: float) -> dict[str, Any]:
    text = tokenizer.token(token)
    return {"token": text, "logprob": log_prob, "bytes": list(text.encode())}
