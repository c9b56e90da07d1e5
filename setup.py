"""What pyproject.toml can't say: a wheel's package holds files that stand at the top level of the project."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGE = "tensormask_server"


class BuildWithSettings(build_py):
    """Copies what stands at the top level into the package. An editable install reads it there."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._copies().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, *self._copies().values()]

    def get_source_files(self) -> list[str]:
        """Names the copied files too, so that a source distribution holds them."""
        return [*super().get_source_files(), *self._copies()]

    def _copies(self) -> dict[str, str]:
        """From each file at the top level to its place in the build."""
        folders = (Path("configs"), Path("demo/model"), Path("demo/model/samples"))
        sources = ["config.properties", *sorted(path.as_posix() for folder in folders for path in folder.glob("*.*"))]
        return {source: str(Path(self.build_lib) / PACKAGE / source) for source in sources}


setup(cmdclass={"build_py": BuildWithSettings})
