"""What pyproject.toml can't say: a wheel has config.properties, which stands beside the README, inside the package."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROPERTIES = "config.properties"


class BuildWithProperties(build_py):
    """The usual build, and the server's configuration. An editable install reads the one beside the README."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file(PROPERTIES, self._built())

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, self._built()]

    def get_source_files(self) -> list[str]:
        """With it, a source distribution has the file as well."""
        return [*super().get_source_files(), PROPERTIES]

    def _built(self) -> str:
        return str(Path(self.build_lib) / "tensormask_server" / PROPERTIES)


setup(cmdclass={"build_py": BuildWithProperties})
