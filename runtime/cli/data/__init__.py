"""`openbell data`: look at stored data, or make some."""

import typer

from openbell.runtime.cli.data.check import check
from openbell.runtime.cli.data.instruments import instruments
from openbell.runtime.cli.data.quality import quality
from openbell.runtime.cli.data.sample import sample
from openbell.runtime.cli.options import example, settable

data_app = typer.Typer(
    help="Look at stored data, or make some.",
    no_args_is_help=True,
    epilog=example("openbell data check minutes/ --exchange XNYS"),
)
data_app.command("check", epilog=example("openbell data check minutes/ --exchange XNYS"))(
    settable(check)
)
data_app.command(
    "quality", epilog=example("openbell data quality minutes/ --exchange XNYS --to 2024-01-31")
)(settable(quality))
data_app.command(
    "sample", epilog=example("openbell data sample --out sample/ --symbols 20 --days 21 --seed 7")
)(sample)
data_app.command(
    "instruments",
    epilog=example("openbell data instruments --config config.yaml --from 2024-07-01"),
)(settable(instruments))
