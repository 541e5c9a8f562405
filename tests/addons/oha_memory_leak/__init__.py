"""Loaded with ``--load``: a cron job that leaks memory in one worker, once.

The worker whose process id is the name of a file in ``OHA_LEAK_FOLDER`` keeps more
than ``limit_memory_soft`` after its next unit of work, as a job with a leak would.
The memory is never touched: Odoo counts addresses.
"""

import mmap
import os
from pathlib import Path

import psutil

from odoo.service.server import WorkerCron
from odoo.tools import config

BEYOND_BYTES = 64 * 1024 * 1024
_leaked = []
_original = WorkerCron.process_work


def _process_work(self):
    _original(self)
    if (Path(os.environ["OHA_LEAK_FOLDER"]) / str(os.getpid())).exists():
        used = psutil.Process().memory_info().vms
        size = max(0, config["limit_memory_soft"] - used) + BEYOND_BYTES
        _leaked.append(mmap.mmap(-1, size))


WorkerCron.process_work = _process_work
