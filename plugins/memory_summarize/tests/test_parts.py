"""What the step is made of, over any input: bounds, states, scripts, and the extractive model."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep import Message
from turnkeep.content import Ref
from turnkeep.model import ModelAnswer, ModelSettings
from turnkeep.optimize.index import Index
from turnkeep.optimize.reference import references
from turnkeep.prepared import PreparedRequest
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep_memory_summarize.answer import bounded, in_form, text_of, with_known_references
from turnkeep_memory_summarize.kept import Kept, _joined
from turnkeep_memory_summarize.prompt import HEADINGS
from turnkeep_memory_summarize.scripts import foreign, scripts_of

count = EstimateCounter().count_texts
lines = st.lists(st.text(max_size=60) | st.sampled_from([f"## {h}" for h in HEADINGS]), max_size=40)


@given(lines, st.integers(1, 300))
def test_a_bounded_text_has_its_bound(parts, most):
    """Or only headings; what stands in it stood there, but for the end of a line that was cut."""
    text = "\n".join(parts)
    for headings in (HEADINGS, ()):
        cut = bounded(text, most, headings, count)
        bare = "\n".join(
            line for line in cut.split("\n") if line not in {f"## {h}" for h in HEADINGS}
        )
        assert count([cut])[0] <= most + 2 or not bare.strip() or headings
        for line in cut.strip().split("\n"):
            assert line in text or line.rstrip("…") in text


@given(st.text(max_size=200))
def test_odd_answers_are_texts(text):
    """No answer breaks what reads it."""
    for finish in ("stop", "length"):
        answer = ModelAnswer(items=[Message(role="assistant", content=text)], finish=finish)
        assert isinstance(in_form(text_of(answer), HEADINGS), str)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("<think>a</think>b</think>\nIt is done.", "It is done."),
        ("a\n</think>\nIt is done.", "It is done."),
        ("<thinking>a</thinking>\nIt is done.", "It is done."),
        ("<think>a\nb", ""),
        ("It strips `</think>` from answers.", "It strips `</think>` from answers."),
        ("```markdown\nIt is\ndone.\n```", "It is\ndone."),
        ("```markdown\nIt is\ndone.", "It is\ndone."),
        ("```\nIt is\ndone.", "It is\ndone."),
        ("```sh\nls\n```\nwas run.", "```sh\nls\n```\nwas run."),
    ],
)
def test_what_models_put_around_a_text_is_taken_off(said, text):
    """Thoughts up to their end, also without a beginning; a fence, also without its end."""
    assert text_of(ModelAnswer(items=[Message(role="assistant", content=said)])) == text


def test_a_fence_that_was_cut_is_no_part_of_the_text():
    """Nor is the line that the answer was at, if there is another one."""
    for said, text in (
        ("```markdown\nIt is done.\nAnd then", "It is done."),
        ("```markdown\nIt is", "It is…"),
        ("```markdown\nIt is done.\n``", "It is done."),
        ("```markdown\nIt is done.\n```", "It is done."),
        ("```markdown", ""),
        ("```mark", ""),
    ):
        items = [Message(role="assistant", content=said)]
        assert text_of(ModelAnswer(items=items, finish="length")) == text


@given(st.lists(st.sampled_from(["#1.0", "#12.3", "#9.9", "##9.9", "# ", "x", "#1.0.", ".5"])))
def test_no_unknown_reference_is_left(parts):
    """However they stand beside each other."""
    known = {Ref(1, 0), Ref(12, 3)}
    assert set(references(with_known_references("".join(parts), known))) <= known


refs = st.builds(Ref, st.integers(1, 12), st.integers(0, 3))


@given(st.sets(refs, min_size=1), st.sets(refs))
def test_spans_hold_what_is_covered_and_nothing_else_that_stands(covered, others):
    """A whole session's in few numbers."""
    others -= covered
    spans = _joined([(ref, ref) for ref in covered], others)
    kept = Kept(spans=spans)
    assert all(map(kept.covers, covered))
    assert not any(map(kept.covers, others))
    assert len(spans) <= len(others) + 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    json_values,
    st.dictionaries(
        st.sampled_from(["summary", "index", "behind", "cover", "digest", "spans"]), json_values
    ),
)
def test_any_state_is_read(value, table):
    """As where another version, or somebody else, has written it."""
    for state in (value, table):
        assert isinstance(Kept.of(state), Kept)


def test_a_state_comes_back():
    """From JSON."""
    index = Index(2, {"a.py": (1, 2)}, ["#1.0 read a.py", '#2.0 user: "x"'], 3)
    kept = Kept("## Goal", index, 1, Ref(4, 0), "abc", ((Ref(1, 0), Ref(2, 1)),))
    assert Kept.of(json.loads(json.dumps(kept.dump(index.ranked())))) == kept


def test_scripts():
    """English among Chinese is found, and names of files are in no language."""
    chinese = scripts_of(["请修复这个解析器中的错误并且保留所有的测试文件不要修改它们谢谢"])
    assert (
        foreign("The user wants the parser to be fixed and all of the tests kept as is.", chinese)
        == "Latin"
    )
    assert (
        foreign(
            "修复 src/pkg/parser_one.py tests/test_parser.py core_config.loader 然后运行测试,修复完成了",
            chinese,
        )
        is None
    )
    assert foreign("Short.", chinese) is None
    english = scripts_of(
        ["Please fix the parser and keep all of the tests that there are, thank you."]
    )
    assert (
        foreign("Пользователь хочет исправить ошибку в программе и сохранить данные.", english)
        == "Cyrillic"
    )
    assert (
        foreign("Der Benutzer möchte den Fehler beheben und die Daten behalten.", english) is None
    )


JAPANESE = [
    "このエラーが出るんですけど、どうしたらいいですか？ ちょっと見てもらえると助かります。",
    "はい、確認してみますね。設定ファイルを見せてもらえますか？",
    "これです。昨日までは動いていたのに、今朝から急に動かなくなってしまって困っています。",
]
IN_KANJI = (
    "接続障害原因調査、設定修正済。設定形式変更判明、旧記述廃止。再試行三回設定、動作確認待。"
)
IN_KATAKANA = (
    "ユーザー、サーバーエラー、コネクションプール、リトライ、ローテーション、アラート、デプロイ。"
)
IN_CHINESE = "请修复这个解析器中的错误并且保留所有的测试文件不要修改它们谢谢"
IN_ENGLISH = "The user wants the parser to be fixed and all of the tests kept as is."


@pytest.mark.parametrize("summary", [IN_KANJI, IN_KATAKANA, "".join(JAPANESE)])
def test_japanese_is_one_language_in_three_scripts(summary):
    """A conversation with much of one of them may be told with much of another."""
    assert foreign(summary, scripts_of(JAPANESE)) is None
    only_kana = scripts_of(["おねがいがあります。どこがわるいのかしらべてもらえますか。"] * 2)
    assert foreign(summary, only_kana) is None


def test_japanese_is_told_from_others():
    """English is another language there; and Japanese is one in Chinese with a sign of it."""
    japanese, chinese = scripts_of(JAPANESE), scripts_of([IN_CHINESE])
    assert foreign(IN_ENGLISH, japanese) == "Latin"
    assert foreign("".join(JAPANESE), chinese) == "Hiragana"
    quoting = scripts_of([IN_CHINESE, IN_CHINESE, "它写着「の」"])
    assert foreign("".join(JAPANESE), quoting) == "Hiragana"
    assert foreign("".join(JAPANESE), scripts_of([IN_ENGLISH])) == "Hiragana"


@given(st.lists(st.text(max_size=200), max_size=6), st.integers(1, 400))
def test_the_extractive_model_keeps_its_bound(texts, most):
    """Whatever it is sent, and says the same twice; its usage is what it read and wrote."""
    import asyncio

    items = [
        Message(role="user", content=text) for text in [*texts, "Summarize:\n## Goal\n## Artifacts"]
    ]
    request = PreparedRequest.of_items(items, session_id="s", counter=EstimateCounter())
    settings = ModelSettings(max_output=most)
    one, two = (asyncio.run(ExtractiveModel().generate(request, settings)) for _ in range(2))
    assert one == two
    assert one.usage.output_tokens <= most
    assert one.usage.output_tokens == count([one.text])[0]
    assert one.usage.input_tokens > 0
