"""Locust users of the public door.

    locust -f loadtest/locustfile.py --bank-data DIR                                 with web UI
    locust -f loadtest/locustfile.py --bank-data DIR --headless -u 50 -t 30s --html build/load.html
    locust -f loadtest/locustfile.py --bank-data DIR --processes 2 --tags channel_app

Kinds of users are chosen by tag (`--tags`) or by class name. Locust is a closed loop and shows how users
fare; what the bank can do at most is measured by `loadtest/bench`, what callers wait when more comes in
than it can do by `hivecore-load`.
"""

import os
from typing import Any

# Before gRPC is loaded: a run starts other programs, and gRPC's own handlers would crash them at their fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from locust import events

from loadtest.users import options, run
from loadtest.users.kinds import BatchChannel, ChannelApp, HotMerchant, Payroll

__all__ = ["BatchChannel", "ChannelApp", "HotMerchant", "Payroll"]

_events: Any = events
_events.init_command_line_parser.add_listener(options.add)
_events.init.add_listener(run.on_init)
_events.test_start.add_listener(run.on_test_start)
_events.test_stopping.add_listener(run.on_test_stopping)
_events.test_stop.add_listener(run.on_test_stop)
_events.quitting.add_listener(run.on_quitting)
