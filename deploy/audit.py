"""make audit: looks for published vulnerabilities of the packages in constraints.txt, by pip-audit.

If pip-audit can't reach its data, it says "No known vulnerabilities found" and leaves every package out. So this counts
how many packages it could check.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Returns 1 if a package has a known vulnerability, and 0 if none has or nothing could be checked."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "constraints.txt"), "--format", "json"]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (result.stderr.strip() or "no reason given").splitlines()[-1]
        print(f"NOTHING WAS CHECKED: pip-audit has no response: {reason}")
        return 0
    checked = [package for package in packages if "skip_reason" not in package]
    found = [(package, fault) for package in checked for fault in package["vulns"]]
    for package, fault in found:
        names = " ".join([fault["id"], *fault.get("aliases", [])])
        fixed = ", ".join(fault["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {names} (fixed in: {fixed})")
    if not checked:
        print("NOTHING WAS CHECKED: the data of vulnerabilities can't be reached from here")
    else:
        print(f"{len(checked)} of {len(packages)} packages checked, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
