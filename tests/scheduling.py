"""Which worker of pytest-xdist runs which tests, for `--dist loadfile`.

A file's tests stay together as there, and so do the files that share servers, which are started once for all of them.
What takes longest begins first, so that the workers end together.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

#: Folders whose files share the servers of the folder's conftest.py.
TOGETHER = {
    "tests/embedded",
    "tests/end_to_end/applications",
    "tests/end_to_end/views",
    "tests/parity",
}
#: Files that share the servers of a conftest.py which their folder's other files do without.
FLEET = {f"tests/end_to_end/test_{name}.py" for name in ("browser", "sample_site", "several_processes")}
#: What takes longest, the longest first. All else follows by its number of tests.
FIRST = (
    "tests/parity",
    "tests/end_to_end/test_join_gap.py",
    "tests/end_to_end/test_large_replies.py",
    "tests/end_to_end/test_storm.py",
    "tests/end_to_end/test_state_sizes.py",
    "the fleet",
    "tests/end_to_end/views",
    "tests/embedded",
    "tests/end_to_end/applications",
    "tests/management/test_runserver.py",
    "tests/mailbox/test_contract.py",
    "tests/migrate/test_command.py",
    "tests/end_to_end/test_runworker.py",
    "tests/end_to_end/test_runserver.py",
    "tests/test_packaging.py",
    "tests/test_refresher.py",
    "tests/testing/test_pushpin.py",
    "tests/testing/test_live.py",
)


def unit_of(nodeid: str) -> str:
    """The name of what one worker runs: a folder, files of one, or a file."""
    file = nodeid.partition("::")[0]
    if file in FLEET:
        return "the fleet"
    folder = str(PurePosixPath(file).parent)
    return folder if folder in TOGETHER else file


class Scheduling(LoadFileScheduling):
    """Hands out units as `unit_of` names them: those of `FIRST`, then the ones with the most tests."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=_rank), last=False)
        super()._assign_work_unit(node)


def _rank(unit: str) -> int:
    return FIRST.index(unit) if unit in FIRST else len(FIRST)
