"""Web pages and archives of the tests' own making."""

from __future__ import annotations

ENGLISH_PAGE = """<!doctype html>
<html lang="en"><head><title>Tides of the bay</title><script>var tracked = 1</script></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li></ul></nav>
<main><article><h1>Tides of the bay</h1>
<p>Twice a day the water leaves the bay, and twice a day it comes back; whoever walks out to the island must know
when. The <a href="https://tides.example/table">table of tides</a> is printed every spring by the harbour office.</p>
<h2>Reading the table</h2>
<p>Look for the row of the day, then for the column of the place. Add an hour in summer, for the table knows no summer
time. In doubt ask at the harbour, where somebody is always <b>awake</b>.</p>
<table><tr><th>place</th><th>high water</th></tr>
<tr><td>Island</td><td>06:12</td></tr><tr><td>Mole</td><td>06:40</td></tr></table>
<p>The office computes the table with a program of twelve lines, and is proud of it; this is its heart, as the master
of the harbour likes to show it to every visitor who asks twice.</p>
<pre><code class="language-python">for day in year:
    print(day, high(day))
</code></pre>
<ul><li>Wear boots.</li><li>Carry a lamp.<ul><li>And matches.</li></ul></li></ul>
</article></main><footer>Copyright of the harbour office. All rights reserved.</footer></body></html>"""

CHINESE_PAGE = """<!doctype html>
<html lang="zh"><head><meta charset="utf-8"><title>海湾的潮汐</title></head><body>
<div class="menu"><a href="/">首页</a><a href="/about">关于我们</a></div>
<div id="content"><h1>海湾的潮汐</h1>
<p>海水每天两次离开海湾，又每天两次回来；想走到岛上去的人，必须知道时间。潮汐表每年春天由港务局印发，挂在码头旁边的木牌上，
来往的渔民和游客都能看见。</p>
<h2>怎样看潮汐表</h2>
<p>先找到当天的那一行，再找到地点所在的那一列。夏天要加一个小时，因为潮汐表不知道夏令时。如果还有疑问，可以到港口去问，
那里总有人醒着，愿意为陌生人指路。</p>
<table><tr><th>地点</th><th>高潮</th></tr><tr><td>小岛</td><td>六点十二分</td></tr></table>
<p>港务局用十二行的程序算出潮汐表，并且以此为荣；港长喜欢把程序的核心部分给每一位来访的客人看，只要客人问上两遍。</p>
</div><div class="footer">版权所有，港务局</div></body></html>"""


def warc_record(
    number: int, body: bytes, kind: str = "text/html", charset: str = "", headers: dict[str, str] | None = None,
    status: str = "200 OK",
) -> bytes:  # fmt: skip
    """A response record with an HTTP message in it."""
    content_type = f"{kind}; charset={charset}" if charset else kind
    lines = {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})}
    http = f"HTTP/1.1 {status}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
    return _record("response", number, "application/http; msgtype=response", http.encode() + body)


def wet_record(number: int, text: str) -> bytes:
    """A conversion record, as WET files have them."""
    return _record("conversion", number, "text/plain", text.encode())


def info_record() -> bytes:
    return _record("warcinfo", 0, "application/warc-fields", b"software: tests\r\n")


def _record(kind: str, number: int, content_type: str, block: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number:08d}-0000-4000-8000-000000000000>\r\n"
        f"WARC-Target-URI: https://site.example/{number}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"
