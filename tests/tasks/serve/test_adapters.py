"""Adapters over the API: one model, asked for under several names."""

import httpx
import openai
import pytest

from tests.models.engine.test_adapters import adapters_folder
from tests.serving import serving

ASK = {"prompt": [20, 31, 42], "max_tokens": 12, "temperature": 0}


def test_an_adapter_is_asked_for_by_the_models_name():
    with serving(slots=2, adapters=adapters_folder()) as (url, _):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        names = [model.id for model in client.models.list()]
        assert names == ["tiny", "tiny:all", "tiny:some"]
        assert client.models.retrieve("tiny:some").id == "tiny:some"
        texts = {name: client.completions.create(model=name, **ASK).choices[0].text for name in names}
        assert len(set(texts.values())) == 3
        again = client.completions.create(model="tiny:all", **ASK)
        assert (again.model, again.choices[0].text) == ("tiny:all", texts["tiny:all"])
        vectors = [client.embeddings.create(model=name, input="hello").data[0].embedding for name in names]
        assert vectors[0] != vectors[1] != vectors[2]
        with pytest.raises(openai.NotFoundError, match="expected 'tiny' or 'tiny:all' or 'tiny:some'"):
            client.completions.create(model="tiny:none", **ASK)
        assert httpx.get(f"{url}/health").status_code == 200
