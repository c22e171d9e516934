"""Asks a model through the SDK, at once and as a stream; the key in the environment is a placeholder."""

import os
import sys

import anthropic

base = sys.argv[1]
question = {"model": "some-model", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}

plain = anthropic.Anthropic(base_url=f"{base}/plain", max_retries=0).messages.create(**question)
print("plain:", plain.content[0].text)

pieces = []
with anthropic.Anthropic(base_url=f"{base}/stream", max_retries=0).messages.stream(**question) as stream:
    pieces.extend(stream.text_stream)
print("stream:", "|".join(pieces))
print("key:", os.environ["ANTHROPIC_API_KEY"][:16])
