"""Kernels that an iteration launches and waits of the host, by phase, on a GPU that is not there (tests/fake_gpu).

    python tests/measure/kernel_launches.py [BATCH]

Full-size networks, ground truth 256, the third iteration after the pair pool is full. Takes minutes.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FAKE = Path(__file__).resolve().parents[1] / "fake_gpu"
sys.path.insert(0, str(FAKE))
import stub_libraries  # noqa: E402


def main() -> None:
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    if reason := stub_libraries.missing():
        sys.exit(f"no fake GPU here: {reason}")
    names = {"all layers": ["all"], "last layer": ["conv_last"]}
    cases = [{"work": {"batch": batch}, "pool": 180 // batch, "layers": layers} for layers in names.values()]
    with tempfile.TemporaryDirectory() as folder:
        environment = stub_libraries.build(Path(folder) / "lib")
        command = [sys.executable, str(FAKE / "worker.py"), *map(json.dumps, cases)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"| phase | {' | '.join(names)} |\n|---|---:|---:|")
    rows = {phase: [case["by_phase"].get(phase, 0) for case in found] for phase in found[0]["by_phase"]}
    rows["all"] = [case["total"] for case in found]
    rows["waits of the host"] = [sum(count for *_, count in case["waits"]) for case in found]
    for name, counts in rows.items():
        print(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |")


if __name__ == "__main__":
    main()
