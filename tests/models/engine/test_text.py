from hypothesis import given
from hypothesis import strategies as st

from models.engine.text import TextStream


def decode(tokens):
    return bytes(tokens).decode("utf-8", errors="replace")


def pieces(text, stop=()):
    stream = TextStream(decode, stop)
    out = []
    for byte in text.encode():
        out.append(stream.push(byte))
        if stream.stopped:
            return out, True
    return [*out, stream.flush()], False


@given(st.text())
def test_pieces_join_to_the_text_and_never_split_a_character(text):
    out, _ = pieces(text)
    assert "".join(out) == text
    assert all("\ufffd" not in piece for piece in out) or "\ufffd" in text


@given(st.binary(max_size=40))
def test_broken_bytes_come_out_as_the_decoder_writes_them(data):
    stream = TextStream(decode)
    assert "".join([*(stream.push(byte) for byte in data), stream.flush()]) == decode(data)


@given(
    st.text(alphabet="ab山\n", max_size=30), st.lists(st.text(alphabet="ab山\n", min_size=1, max_size=3), max_size=3)
)
def test_text_ends_before_the_first_stop_string(text, stop):
    out, stopped = pieces(text, stop)
    shown = "".join(out)
    assert text.startswith(shown)
    assert not any(end in shown for end in stop)
    assert stopped == any(end in text for end in stop)
    assert stopped or shown == text
