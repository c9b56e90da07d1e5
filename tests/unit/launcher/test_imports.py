"""What the launcher imports: an archive is served without torch in the launcher's own process."""

import subprocess
import sys


def test_the_command_starts_without_torch() -> None:
    """Importing torch takes seconds, and only making an archive needs it."""
    script = (
        "import sys, tensormask_server.launcher.command; print(sorted({'torch', 'safetensors'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
