"""What the fork server imports before workers are forked, and the stage beside it: the pipeline's blocks, and kernels
that every text takes."""

from tasks.corpus import blocks  # noqa: F401
from tasks.corpus.dedup.key import key_of
from tasks.corpus.dedup.minhash import signatures
from tasks.corpus.dedup.shingles import WORDS
from tasks.corpus.heuristics import blocks as heuristics  # noqa: F401
from tasks.corpus.language import language_of

signatures([key_of("One text is enough to load machine code.")], [WORDS])
language_of("一")  # Chinese, so that no model is loaded
