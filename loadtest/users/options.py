"""What may be chosen for a locust run, on the command line or in the web UI.

Never here: what is made of it.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from loadtest.operations import BATCH_TRANSFERS


def add(parser: Any) -> None:
    """Add this kit's options to locust's; the master gives them to its workers, and the web UI shows them."""
    parser.add_argument("--bank-data", default="", help="data directory of a bank that is open on this machine")
    parser.add_argument("--gateway", default="", help="host:port of any other bank's gateway")
    parser.add_argument("--token-file", default="", help="bearer token for --gateway")
    parser.add_argument("--account-service", default="", help="host:port; crossing shares need it with --gateway")
    parser.add_argument("--accounts", type=int, default=500, help="opened and funded by each process")
    parser.add_argument("--popularity", default="uniform", help="of accounts: uniform, zipf or zipf:EXPONENT")
    parser.add_argument("--hot-share", type=float, default=0.0, help="of the transfers, that touch one account: 0 to 1")
    parser.add_argument("--crossing-share", type=float, default=0.0, help="of the transfers, between shards: 0 to 1")
    parser.add_argument("--think-seconds-min", type=float, default=0.5, help="between two operations of a user")
    parser.add_argument("--think-seconds-max", type=float, default=2.0, help="between two operations of a user")
    parser.add_argument("--batch-transfers", type=int, default=BATCH_TRANSFERS, help="per call, in batch and payroll")
    parser.add_argument("--deadline-seconds", type=float, default=15.0, help="of each call")


def target_of(options: Namespace) -> list[str]:
    """Give the options that say which bank, as `loadtest.target` reads them."""
    if options.gateway:
        account_service = ["--account-service", options.account_service] if options.account_service else []
        return ["--gateway", options.gateway, "--token-file", options.token_file, *account_service]
    return ["--data", str(Path(options.bank_data).resolve())] if options.bank_data else []
