"""Published prompt sets: I2P and the formats of adversarial prompts, on invented files of the same columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.concepts.benchmark_sets import FORMATS, Entry, format_of, read_benchmark
from evenhand.concepts.prompts import PromptSet, load_prompts
from evenhand.errors import ConceptError

I2P = Path(__file__).parents[1] / "data" / "i2p_like.csv"


def write(folder: Path, text: str, name: str = "set.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_row_keeps_its_prompt_to_the_letter_and_what_it_was_published_with() -> None:
    first = read_benchmark(I2P)[0]
    assert first == Entry(
        prompt="a quiet pond, oil on canvas ",
        categories=("violence", "self-harm"),
        seed=4261553411,
        guidance=13.0,
        width=512,
        height=512,
        percentage=50.0,
    )


def test_a_prompt_that_stands_there_again_is_a_row_of_its_own() -> None:
    prompts = load_prompts(I2P)
    assert [row.name for row in prompts.rows] == [
        "a quiet pond, oil on canvas", "a loaf of bread", "a loaf of bread (2)", "two chairs 🪑 in the rain",
    ]  # fmt: skip
    assert prompts.rows[1].templates == prompts.rows[2].templates
    # 4 rows of 3 prompts; one row of two categories; five labels in all
    assert prompts.facts == {
        "set": "I2P", "rows": 4, "prompts": 3, "repeated": 1, "several_categories": 1,
        "categories": {"hate": 1, "self-harm": 1, "shocking": 1, "violence": 2},
    }  # fmt: skip


def test_a_set_survives_json() -> None:
    prompts = load_prompts(I2P)
    assert PromptSet.from_dict(json.loads(json.dumps(prompts.to_dict()))) == prompts


def test_parquet_says_the_same(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow.csv")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.read_csv(I2P), tmp_path / "set.parquet")
    assert read_benchmark(tmp_path / "set.parquet") == read_benchmark(I2P)
    assert load_prompts(tmp_path / "set.parquet").facts == load_prompts(I2P).facts


@pytest.mark.parametrize(
    ("name", "text", "prompts"),
    [
        ("ring-a-bell", '"a cloud , tree ?? bread"\nsecond one\n', ["a cloud , tree ?? bread", "second one"]),
        ("ring-a-bell", "sensitive prompt,adv_prompt\na cloud,zq cloud ly\n", ["zq cloud ly"]),
        ("ring-a-bell", "prompt,evaluation_seed\na cloud,5\n", ["a cloud"]),
        (
            "mma-diffusion",
            "target_prompt,adv_prompt,sanitized_adv_prompt,clean_prompt\na tree,xx tree yy,xx yy,a plant\n",
            ["xx tree yy"],
        ),
        ("p4d", ",prompt,evaluation_seed,evaluation_guidance\n0,a cloud,5,7.5\n", ["a cloud"]),
        ("unlearndiffatk", "case_number,prompt,evaluation_seed,evaluation_guidance\n3,a lake,5,7\n", ["a lake"]),
    ],
)
def test_the_formats_of_adversarial_sets(tmp_path: Path, name: str, text: str, prompts: list[str]) -> None:
    path = write(tmp_path, text)
    assert [row.templates[0] for row in load_prompts(f"{name}:{path}").rows] == prompts
    assert load_prompts(f"{name}:{path}").source == FORMATS[name].source


def test_a_file_is_known_by_its_columns(tmp_path: Path) -> None:
    assert format_of(I2P) == "i2p"
    mma = write(tmp_path, "target_prompt,adv_prompt,sanitized_adv_prompt\na,b,c\n", "mma.csv")
    assert format_of(mma) == "mma-diffusion"
    assert load_prompts(mma).rows[0].templates == ("b",)
    seeds = write(tmp_path, "case_number,prompt,evaluation_seed\n0,a lake,5\n", "seeds.csv")
    assert format_of(seeds) == "adversarial"
    (row,) = load_prompts(seeds).rows
    assert row.published is not None
    assert row.published.seed == 5
    assert format_of(write(tmp_path, "prompt,group\na,b\n", "mine.csv")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt,sd_seed\n", "holds no prompt"),
        ("text,sd_seed\na,1\n", "the columns are 'text', 'sd_seed'; expected a column 'adv_prompt'"),
        ("prompt,sd_seed\na,1\n ,2\n", "record 2: no prompt in the column 'prompt'"),
        ("prompt,sd_seed\na,x\n", "record 1: sd_seed is 'x', expected a number"),
        ("prompt,sd_guidance_scale\na,nan\n", "record 1: sd_guidance_scale is 'nan'"),
        ('prompt,sd_seed\n"a,1\n', "correct the quotes"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConceptError) as caught:
        load_prompts(write(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_unknown_file_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="cannot read"):
        load_prompts(f"i2p:{tmp_path / 'none.csv'}")
    with pytest.raises(ConceptError, match='did you mean "i2p"'):
        load_prompts("i2")
