"""Policies by name: presets, steps and files, and what the engine does as one."""

import pytest

from turnkeep.content import Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.errors import ConfigError
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.optimize.reference import references
from turnkeep.prices import PriceRow
from turnkeep.replay.named import parse_policy
from turnkeep.replay.recording import Recording
from turnkeep.replay.report import as_json
from turnkeep.replay.run import replay
from turnkeep.replay.terms import Terms
from turnkeep.testing.letters import Letters

ROW = PriceRow("row", write=1.25, read=0.1, output=5, minimum=0, step=1, lifetime=10)


def recording(rounds=30, size=900):
    items = [Message(role="user", content="Read them all")]
    for number in range(rounds):
        path = f"src/module_{number}.py"
        items += [
            ToolCall(tool_call_id=f"c{number}", name="read", arguments={"path": path}),
            ToolResult(tool_call_id=f"c{number}", name="read", content=[f"{path} " + "x" * size]),
        ]
    last = Message(role="assistant", content="It was in src/module_3.py, and src/module_29.py.")
    return Recording.of_items("r", [*items, last], [ToolDefinition(name="read")])


def terms(profile="openai-chat", **fields):
    return Terms(get_profile(profile), ROW, Letters(exact=True), **fields)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("none", "none"),
        ("tutorial-window", "tutorial-window:window_size=20"),
        ("tutorial-window:window_size=5", "tutorial-window:window_size=5"),
        ("cheap:max_tokens=60000", "cheap:max_tokens=60000"),
        ("compact:max_tokens=9000,keep_recent=5", "compact:max_tokens=9000,keep_recent=5"),
        ("chat:max_tokens=9000,notes.names=5", "chat:max_tokens=9000,notes.names=5"),
    ],
)
def test_policies_are_named(text, label):
    """NAME:key=value, keys of [context] or of a step."""
    assert parse_policy(text).label == label


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonne", "did you mean 'none'"),
        ("chepa:max_tokens=9", "did you mean 'cheap'"),
        ("none:x=1", "unknown option 'x'"),
        ("tutorial-window:window_size=many", "wants a number"),
        ("tutorial-window:window_size=0", "at least 1"),
        ("tutorial-window:size=3", "unknown option"),
        ("cheap", "give it max_tokens"),
        ("cheap:max_tokens", "no option; write"),
        ("cheap:max_tokens=9,nots.names=3", "unknown option"),
        ("compact:max_tokens=9,keep_recnt=3", "did you mean 'keep_recent'"),
        ("missing.toml", "missing.toml"),
    ],
)
def test_unknown_policies_are_refused(text, said):
    """With what there is, or what was meant."""
    with pytest.raises(ConfigError, match=said):
        parse_policy(text)


def test_a_policy_may_be_a_file(tmp_path):
    """Its table [context]; without a limit it would rewrite nothing."""
    file = tmp_path / "a.toml"
    file.write_text('[context]\nmax_tokens = 9_000\npipeline = ["window"]\n')
    policy = parse_policy(str(file))
    assert [step.name for step in policy.steps] == ["window"]
    file.write_text('[session]\nstore = "memory"\n')
    with pytest.raises(ConfigError, match=r"set \[context\] max_tokens"):
        parse_policy(str(file))


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_the_engine_keeps_within_its_limit(profile):
    """Valid, never over, cheaper than everything; checkpoints are where requests part."""
    requests = []
    policies = [parse_policy("none"), parse_policy("coding:max_tokens=9000")]
    [_, [kept]] = played = await replay([recording()], policies, terms(profile), requests.append)
    row = as_json(played, played[0], terms(profile))["policies"][1]
    assert (kept.invalid, kept.over_budget, kept.overflows) == (0, 0, 0)
    assert row["relative_cost"] < 1
    assert row["in_place"] == 1.0
    own = [request for request in requests if request["policy"] != "none"]
    assert sum(request["checkpoint"] for request in own) == kept.checkpoints > 1
    assert all(request["tokens"] <= 9_000 for request in own)
    assert {tool.get("name", "") for tool in own[0]["tools"] if "name" in tool} <= {
        "read",
        "recall",
    }


async def test_every_reference_leads_to_what_was_taken_out():
    """As it stands in the text of a request."""
    made = recording()
    requests = []
    await replay([made], [parse_policy("coding:max_tokens=9000")], terms(), requests.append)
    known = {entry.ref for entry in made.entries}
    found = [ref for request in requests for ref in references(str(request["messages"]))]
    assert found
    assert set(found) <= known


async def test_what_cannot_fit_is_not_sent():
    """It is counted, told, and costs nothing."""
    requests = []
    policy = parse_policy("coding:max_tokens=300,recall=false")
    huge = Recording.of_items("r", [Message(role="user", content="y" * 900), answer()])
    [[outcome]] = await replay([huge], [policy], terms(), requests.append)
    assert (outcome.requests, outcome.overflows, outcome.over_budget) == (1, 1, 0)
    assert (outcome.cost, outcome.tokens_sent) == (0, 0)
    assert "300 fit" in requests[0]["overflow"]


def answer():
    return Message(role="assistant", content="ok")


async def test_a_cold_cache_is_the_time_to_rewrite():
    """Half the gap between low and high water is enough then."""
    items = []
    for number in range(12):
        items += [
            Message(role="user", content=f"question {number} " + "q" * 300),
            Message(role="assistant", content=f"answer {number} " + "a" * 300),
        ]
    made = Recording.of_items("r", items)
    policy = "notes:max_tokens=9000,trigger=0.9,target=0.1,names=50,index=400"
    reasons = {}
    for idle in (0, 11):
        seen = []
        [[outcome]] = await replay(
            [made], [parse_policy(policy)], terms(idle_before_user=idle),
            watch=lambda each, seen=seen: seen.append(each.outgoing),
        )  # fmt: skip
        reasons[idle] = [each.report["reason"] for each in seen if each.checkpoint]
        assert outcome.invalid == 0
    assert reasons[0] == []
    assert "cold" in reasons[11]
