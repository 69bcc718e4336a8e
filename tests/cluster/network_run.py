"""Train a trial on two network namespaces, as on two machines. Run it in the first one.

python tests/cluster/network_run.py FOLDER ADDRESS COMMAND...

COMMAND starts a process in the second namespace, where the first one has the IP address ADDRESS. When the file FOLDER/cut exists at an
evaluation, it is renamed to FOLDER/was-cut, and the program waits until FOLDER/continue exists.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from optbench.events import Evaluated, Event
from optbench.executor.api import Settings, StopRequest
from optbench.executor.dispatch import Dispatcher
from optbench.executor.joined_nodes import joined_nodes
from optbench.executor.local import LocalExecutor
from optbench.executor.parts import PartsExecutor
from optbench.executor.several_hosts import SeveralHosts
from optbench.store import SuiteFolder
from trials import RESUME_CASES
from two_nodes import ADAM, one_trial


def main() -> None:
    folder, address, *command = Path(sys.argv[1]), *sys.argv[2:]
    trial = one_trial(folder, {**ADAM, "nodes": 2}, **RESUME_CASES["adam with everything"])
    results = SuiteFolder.of(folder / "results", "tiny")
    results.create()
    settings = Settings(threads=1, allocator="default", checkpoint_seconds=0)

    def start(count: int) -> subprocess.Popen[bytes]:
        line = [*command, "setsid", sys.executable, "-m", "optbench.executor.joined_nodes"]
        environment = {**os.environ, "SLURM_LAUNCH_NODE_IPADDR": address}
        script = f"exec 3<&0; {' '.join(line)} <&3 & wait"
        return subprocess.Popen(
            ["bash", "-c", script], stdin=subprocess.PIPE, start_new_session=True, env=environment
        )

    def cut(event: Event) -> None:
        if isinstance(event, Evaluated) and (folder / "cut").exists():
            (folder / "cut").rename(folder / "was-cut")
            while not (folder / "continue").exists():
                time.sleep(0.05)

    with (
        closing(LocalExecutor(results.path, settings, folder, "cpu")) as here,
        joined_nodes(1, start) as [other],
    ):
        other.configure(results.path, settings, str(folder), "cpu")
        other.name = "b"
        hosts, addresses = {"a": here, "b": other}, {"a": other.worker_address, "b": other.address}
        print(addresses, flush=True)
        with closing(PartsExecutor(SeveralHosts(hosts, addresses))) as executor:
            stop = StopRequest()
            slots = executor.open([trial], print, stop)
            dispatcher = Dispatcher(executor, results, settings, stop)
            print(dispatcher.run_timed([trial], slots, lambda _, event: cut(event)).ended)


if __name__ == "__main__":
    main()
