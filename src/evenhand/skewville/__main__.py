"""`python -m evenhand.skewville`: train, render, make another world, enumerate its truth, and measure it."""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from evenhand.errors import EvenhandError, InputError

from .attributes import Attributes
from .paths import MODEL_DIRECTORY
from .plan import plans
from .progress import Progress
from .render import render
from .sizes import Sizes
from .uniform import uniform
from .world import DEFAULT_WORLD, load_world
from .world import World as Declared

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The embedded world: its pictures and its recipe.")

World = Annotated[Path, typer.Option("--world", help="TOML of the world.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
Scale = Annotated[float, typer.Option(help="Factor on all training steps; 0.01 is a dry run.")]


@app.command("render")
def render_command(
    n: Annotated[int, typer.Option("--n", help="Number of pictures.")],
    out: Out,
    seed: Annotated[int, typer.Option(help="Seed of attributes and pictures.")] = 0,
    world: World = DEFAULT_WORLD,
    even: Annotated[bool, typer.Option("--uniform", help="Uniform attributes instead of the world's skew.")] = False,
) -> None:
    """Write N pictures and labels.csv."""
    if n <= 0:
        raise InputError(f"--n is {n}; expected 1 or more")
    if seed < 0:
        raise InputError(f"--seed is {seed}; expected 0 or more")
    rng = np.random.default_rng([seed, 7])
    skewed = (plan.what for plan in plans(load_world(world), seed))
    chosen: list[Attributes] = [uniform(rng) for _ in range(n)] if even else list(itertools.islice(skewed, n))
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with Progress("render", n, quantity="pictures") as progress:
        for i, what in enumerate(chosen):
            name = f"{i:05d}.png"
            render(what, seed * 1_000_003 + i).save(out / name)
            rows.append({"file": name, **what.row()})
            progress.advance()
    temporary = out / "labels.csv.tmp"
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(out / "labels.csv")


@app.command()
def train(
    out: Out = Path("train"),
    world: World = DEFAULT_WORLD,
    scale: Scale = 1.0,
    judges: Annotated[bool, typer.Option(help="Also train the two judges.")] = True,
) -> None:
    """Train every checkpoint from nothing; continues where it was interrupted."""
    from .recipe import train_judges, train_world

    train_world(load_world(world), out, out / "model", scale=scale)
    if judges:
        train_judges(out / "vae", out / "judges", scale=scale)


@app.command()
def new(out: Out, world: World, scale: Scale = 1.0) -> None:
    """Render, train and measure another world, with the shipped autoencoder and judges.

    OUT becomes a model directory that `evenhand audit OUT` takes; what an interrupted training needs to continue
    lies in OUT.training beside it.
    """
    from .recipe import train_world

    declared = load_world(world)
    work = out.with_name(f"{out.name}.training")
    train_world(declared, work, out, scale=scale, autoencoder=MODEL_DIRECTORY / "vae")
    _calibrate(declared, out, work, Sizes(images=40))


@app.command()
def derivative(
    out: Out,
    model: Annotated[Path, typer.Option(help="Model directory; the shipped one by default.")] = MODEL_DIRECTORY,
    world: World = DEFAULT_WORLD,
    steps: Annotated[int | None, typer.Option(help="Training steps; else those of the derivative that ships.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of pictures, captions, noise and the LoRA's start.")] = 0,
) -> None:
    """Train the LoRA that amplifies the world's skew of gender; `skewville+amplified` is the one that ships."""
    from .derivative import Recipe, train_derivative

    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps)
    train_derivative(load_world(world), model, out, recipe)


@app.command()
def truth(out: Annotated[Path, typer.Option("--out", help="CSV file to write.")], world: World = DEFAULT_WORLD) -> None:
    """Enumerate P(attribute | prompt) of a world."""
    from .truth import write_truth

    write_truth(load_world(world), out)


@app.command()
def measure(
    out: Out,
    model: Annotated[Path | None, typer.Option(help="Model directory; the shipped one by default.")] = None,
    world: World = DEFAULT_WORLD,
    images: Annotated[int, typer.Option(help="Images per cell.")] = 200,
    explicit: Annotated[int | None, typer.Option(help="Per cell that names an attribute; else as many.")] = None,
    corner: Annotated[
        int | None, typer.Option(help="Per occupation x tone x gender cell; else a quarter as many.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; the model's own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Run seed.")] = 1,
) -> None:
    """Measure a trained model cell by cell and print it beside the declared truth."""
    sizes = Sizes(images=images, explicit=explicit, corner=corner, guidance=guidance, seed=seed)
    _calibrate(load_world(world), model or MODEL_DIRECTORY, out, sizes)


@app.command()
def confusion(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    judge: Annotated[str, typer.Option(help="Judge to examine.")] = "clip",
    count: Annotated[int, typer.Option(help="Pictures.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of attributes and pictures.")] = 500_000,
    image_to_image: Annotated[
        bool, typer.Option(help="Also a low-strength pass of the model over every second one.")
    ] = True,
) -> None:
    """Measure a judge's confusion matrix on pictures that look generated."""
    from evenhand.judges.load import load_judge

    from .confusion import measure_confusion

    found = measure_confusion(
        MODEL_DIRECTORY, load_judge(judge), out, count=count, seed=seed, image_to_image=image_to_image
    )
    sys.stdout.write(
        json.dumps({**found["accuracies"], "abstained_on_nothing": found["abstained_on_nothing"]}, indent=1)
    )


@app.command()
def samples(
    out: Annotated[Path, typer.Option("--out", help="PNG to write.")],
    seed: Annotated[int, typer.Option(help="Run seed.")] = 1,
) -> None:
    """Draw the 8 x 6 grid of samples that the documentation shows."""
    from .samples import sample_grid

    sample_grid(MODEL_DIRECTORY, out, seed=seed)


@app.command()
def tables(
    run: Annotated[Path, typer.Option("--run", help="Folder that `measure` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Markdown file to write.")],
    world: World = DEFAULT_WORLD,
) -> None:
    """Write what `measure` found as a page of the documentation."""
    from .tables import figures_page

    out.write_text(figures_page(load_world(world), run), "utf-8")


def _calibrate(world: Declared, model: Path, out: Path, sizes: Sizes) -> None:
    from evenhand.judges.load import load_judge

    from .calibrate import calibrate

    found = calibrate(world, model, load_judge("clip"), out, sizes)
    sys.stdout.write(json.dumps(found["calibration"], indent=1) + "\n")


def main() -> None:
    """Run the command line; a user's mistake ends with one line and exit status 2."""
    try:
        app()
    except EvenhandError as error:
        sys.stderr.write(f"skewville: {error}\n")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.stderr.write("skewville: interrupted; the same command continues\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
