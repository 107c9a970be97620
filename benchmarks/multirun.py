"""Hydra's own multirun over cells, for comparison: one process, a cell after another, composed by Hydra."""

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from attnbench import data, mechanisms
from attnbench.cell import Cell
from attnbench.config.files import folder
from attnbench.config.schema import Config


def main() -> None:
    """Run the cells that the command line asks for with Hydra's `-m`."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, found in mechanisms.known().items():
        store.store(group="attn", name=name, node={"name": name, **found.options})

    @hydra.main(version_base="1.3", config_path=str(folder("conf").resolve()), config_name="config")
    def job(composed: DictConfig) -> None:
        from attnbench.running import run

        config: Config = OmegaConf.to_object(composed)  # type: ignore[assignment]
        config.data.classes = data.classes(config.data, config.task.name)
        run(Cell(config))

    job()


if __name__ == "__main__":
    main()
