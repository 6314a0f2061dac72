"""Calls: several at once, ended early, and what opening and closing do to them."""

import asyncio
from pathlib import Path

import pytest

from turnkeep.errors import ConfigError, ModelError, ModelUnavailable
from turnkeep.model import ModelSettings
from turnkeep_model_local import LocalModel

STORY = "Tell me a very long story about a lighthouse."


def threads():
    """Count the threads of this process, Python's and others; 0 where that is not told."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


@pytest.mark.prove
async def test_calls_run_at_once_and_wait_for_a_slot(small, asking):
    """More of them than there are slots; each gets its own answer."""
    questions = [f"What is {number} and {number}?" for number in range(5)]
    async with LocalModel(**small) as model:
        alone = [await model.generate(asking(text, session_id=text)) for text in questions]
        asked = (model.generate(asking(text, session_id=f"new {text}")) for text in questions)
        together = await asyncio.gather(*asked)
    assert [answer.usage.input_tokens for answer in together] == [
        answer.usage.input_tokens for answer in alone
    ]
    assert all(answer.text for answer in together)


@pytest.mark.parametrize("pieces", [0, 3])
async def test_a_cancelled_call_ends(small, asking, pieces):
    """While its prompt is computed or later; its slot is free for the next call."""
    async with LocalModel(**{**small, "slots": 1, "max_output": 900}) as model:
        come = asyncio.Event()
        got = []

        async def read():
            if not pieces:
                come.set()
            async for piece in model.stream(asking(STORY)):
                got.append(piece)
                if len(got) == pieces:
                    come.set()

        task = asyncio.create_task(read())
        await come.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The slot would be taken for 900 tokens; the next answer holds what was generated.
        after = await model.generate(asking("Hello!"), ModelSettings(max_output=4))
        assert after.usage.output_tokens <= 4
        assert len(got) <= pieces + 1


async def test_leaving_a_stream_ends_the_call(small, asking):
    """As cancelling does."""
    async with LocalModel(**{**small, "slots": 1, "max_output": 900}) as model:
        stream = model.stream(asking(STORY))
        await anext(stream)
        await stream.aclose()
        assert (await model.generate(asking("Hello!"), ModelSettings(max_output=4))).items


async def test_the_time_may_run_out(small, asking):
    """Then what had come is with the error."""
    async with LocalModel(**{**small, "max_output": 900}) as model:
        got = []
        with pytest.raises(ModelUnavailable, match="more time") as caught:
            async for piece in model.stream(asking(STORY), ModelSettings(timeout=0.0)):
                got.append(piece)
        assert (got, caught.value.partial) == ([], None)
        stream = model.stream(asking(STORY), ModelSettings(timeout=3600))
        first = await anext(stream)
        await stream.aclose()
        assert first.text


async def test_closing_ends_the_calls(small, asking):
    """With an error that holds what had come; memory and threads are freed."""
    before = threads()
    begun = asyncio.Event()
    got = []

    async def read(model):
        async for piece in model.stream(asking(STORY)):
            got.append(piece)
            begun.set()

    async with LocalModel(**{**small, "max_output": 900}) as model:
        reading = asyncio.create_task(read(model))
        await begun.wait()
    with pytest.raises(ModelError, match="closed during the call") as caught:
        await reading
    assert caught.value.partial.partial
    assert caught.value.partial.text.startswith("".join(piece.text for piece in got))
    for _ in range(100):  # a pool's idle threads end by themselves
        if threads() <= before:
            break
        await asyncio.sleep(0.05)
    assert threads() <= before


async def test_a_model_can_be_opened_again(small, asking):
    """After it was closed, and beside another one."""
    model = LocalModel(**small)
    for _ in range(2):
        async with model, LocalModel(**small) as other:
            settings = ModelSettings(max_output=2)
            assert (await model.generate(asking("Hello!"), settings)).items
            assert (await other.generate(asking("Hello!"), settings)).items
            assert model.url != other.url


def test_it_can_be_opened_again_on_another_loop(small, asking):
    """After it was closed."""
    model = LocalModel(**small)

    async def ask():
        async with model:
            return (await model.generate(asking("Hello!"), ModelSettings(max_output=2))).text

    assert asyncio.run(ask()) == asyncio.run(ask())


async def test_it_belongs_to_the_loop_that_opened_it(small, asking):
    """Others are told, and the model goes on."""
    settings = ModelSettings(max_output=2)
    async with LocalModel(**small) as model:

        async def generate():
            await model.generate(asking("Hello!"), settings)

        async def leave():
            await model.__aexit__(None, None, None)

        async def enter():
            await model.__aenter__()

        for use, said in (
            (generate, "another event loop"),
            (lambda: model.count(["a"]), "another event loop"),
            (leave, "another event loop"),
            (enter, "open already"),
        ):
            with pytest.raises(ModelError, match=said):
                await asyncio.to_thread(lambda use=use: asyncio.run(use()))
        assert (await model.generate(asking("Hello!"), settings)).items


async def test_it_is_opened_once_at_a_time(small):
    """Of two who come together one gets in, and the other is told."""
    model = LocalModel(**small)

    async def use():
        async with model:
            return model.url

    first, second = await asyncio.gather(use(), use(), return_exceptions=True)
    assert first.startswith("http://127.0.0.1:")
    assert isinstance(second, ModelError) and "open already" in str(second)
    assert await use()


async def test_it_is_used_inside_async_with(asking):
    """And says so; what it is can be asked before."""
    model = LocalModel(context_window=512, max_output=9)
    assert (model.model_id, model.profile) == ("smollm2", "openai-chat")
    assert (model.limits.context_window, model.limits.max_output) == (512, 9)
    with pytest.raises(ModelError, match="async with"):
        await model.generate(asking("Hello!"))


@pytest.mark.parametrize("option", [{"slots": 0}, {"window": 1}, {"api_key": "", "cache_dir": "x"}])
def test_other_options_are_refused(option):
    """With a sentence for each."""
    with pytest.raises(ConfigError, match="LocalModel: "):
        LocalModel(**option)


async def test_limits_are_those_of_the_model(small):
    """A window is rounded up to 256, and never longer than the model was made for."""
    for asked, given in ((1_000, 1_024), (100_000, 8_192)):
        async with LocalModel(**{**small, "context_window": asked, "slots": 1}) as model:
            assert model.limits.context_window == given
