"""Asks a model through the SDK, at once and as a stream; the key in the environment is a placeholder."""

import os
import sys

import openai

base = sys.argv[1]
question = {"model": "some-model", "messages": [{"role": "user", "content": "hello"}]}

plain = openai.OpenAI(base_url=f"{base}/plain/v1", max_retries=0).chat.completions.create(**question)
print("plain:", plain.choices[0].message.content)

stream = openai.OpenAI(base_url=f"{base}/stream/v1", max_retries=0).chat.completions.create(stream=True, **question)
print("stream:", "|".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices))
print("key:", os.environ["OPENAI_API_KEY"][:12])
