"""How much memory is free, in trees of files as the kernel writes them."""

import pytest

from utils.data.memory import available_memory

MIB = 2**20
MACHINE = {"proc/meminfo": "MemTotal:       32768 kB\nMemFree:        100 kB\nMemAvailable:   16384 kB\n"}  # 16 MiB
NO_LIMIT_V1 = 9223372036854771712
MOUNT_V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_V1 = "34 31 0:31 {root} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
OTHER_V1 = "35 31 0:32 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return root


def v2(folder, limit, usage, cached=0):
    top = f"sys/fs/cgroup/{folder}".rstrip("/")
    return {
        f"{top}/memory.max": f"{limit}\n",
        f"{top}/memory.current": f"{usage}\n",
        f"{top}/memory.stat": f"anon 5\ninactive_file {cached}\nactive_file 77\n",
    }


def v1(folder, limit, usage, cached=0):
    top = f"sys/fs/cgroup/memory/{folder}".rstrip("/")
    return {
        f"{top}/memory.limit_in_bytes": f"{limit}\n",
        f"{top}/memory.usage_in_bytes": f"{usage}\n",
        f"{top}/memory.stat": f"inactive_file 3\ntotal_inactive_file {cached}\n",
    }


IN_V2 = {"proc/self/mountinfo": MOUNT_V2, "proc/self/cgroup": "0::/kube/pod7/job\n"}
IN_V1 = {
    "proc/self/mountinfo": OTHER_V1 + MOUNT_V1.format(root="/"),
    "proc/self/cgroup": "5:cpu,cpuacct:/elsewhere\n4:memory:/docker/abc\n0::/\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, None, id="a system that says nothing"),
        pytest.param(MACHINE, 16 * MIB, id="no groups"),
        pytest.param(MACHINE | IN_V2, 16 * MIB, id="a group without files"),
        pytest.param(MACHINE | IN_V2 | v2("kube/pod7/job", 10 * MIB, 4 * MIB), 6 * MIB, id="a nested group"),
        pytest.param(
            MACHINE | IN_V2 | v2("kube/pod7/job", "max", 4 * MIB) | v2("kube/pod7", 9 * MIB, 4 * MIB),
            5 * MIB,
            id="the limit stands a group higher",
        ),
        pytest.param(
            MACHINE | IN_V2 | v2("kube/pod7/job", 7 * MIB, MIB) | v2("kube", 8 * MIB, 6 * MIB),
            2 * MIB,
            id="two groups with limits, the outer one is fuller",
        ),
        pytest.param(
            MACHINE | IN_V2 | v2("other", MIB, MIB) | v2("kube/pod7/job", 10 * MIB, 0), 10 * MIB, id="not a sibling's"
        ),
        pytest.param(
            MACHINE | IN_V2 | v2("kube/pod7/job", 10 * MIB, 9 * MIB, 5 * MIB), 6 * MIB, id="cached files are given back"
        ),
        pytest.param(
            MACHINE | IN_V2 | v2("kube", "max", MIB) | {"sys/fs/cgroup/kube/memory.high": 4 * MIB},
            3 * MIB,
            id="memory.high is a limit too",
        ),
        pytest.param(MACHINE | IN_V2 | v2("kube", 4 * MIB, 5 * MIB), 0, id="nothing is left"),
        pytest.param(
            MACHINE | IN_V2 | {"proc/self/cgroup": "0::/\n"} | v2("", 10 * MIB, 7 * MIB),
            3 * MIB,
            id="a namespace of its own, whose root is the container",
        ),
        pytest.param(MACHINE | IN_V1 | v1("docker/abc", 10 * MIB, 4 * MIB, MIB), 7 * MIB, id="version 1"),
        pytest.param(MACHINE | IN_V1 | v1("docker/abc", NO_LIMIT_V1, 4 * MIB), 16 * MIB, id="version 1 without limit"),
        pytest.param(
            MACHINE | IN_V1 | {"proc/self/mountinfo": MOUNT_V1.format(root="/docker/abc")} | v1("", 10 * MIB, 8 * MIB),
            2 * MIB,
            id="version 1, where only the container's own group is mounted",
        ),
        pytest.param(
            MACHINE
            | IN_V1
            | {"proc/self/mountinfo": MOUNT_V1.format(root="/docker/abc"), "proc/self/cgroup": "4:memory:/docker/abc/x"}
            | v1("", 10 * MIB, 2 * MIB)
            | v1("x", 5 * MIB, 2 * MIB),
            3 * MIB,
            id="version 1, a group below the mounted one",
        ),
        pytest.param(
            MACHINE
            | IN_V1
            | {"proc/self/mountinfo": MOUNT_V1.format(root="/docker/abc"), "proc/self/cgroup": "4:memory:/../up"}
            | v1("", 10 * MIB, 9 * MIB),
            MIB,
            id="a group that is not below the mounted one",
        ),
    ],
)
def test_the_least_that_the_machine_and_every_group_have_left_counts(tmp_path, files, expected):
    assert available_memory(write(tmp_path, files)) == expected


def test_this_system_answers():
    free = available_memory()

    assert free is None or free > MIB
