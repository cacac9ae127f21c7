"""Files of a run, made when they are asked for: NetCDF, CSV, the report."""

from __future__ import annotations

import panel_material_ui as pmui
import xarray as xr

from consilience.dashboard.run_view_figures import DRAWING
from consilience.dashboard.store_download import File, downloads
from consilience.errors import StoreError
from consilience.experiments import load_stored
from consilience.reports import page, to_csv, to_netcdf_bytes
from consilience.store import Run, Store


class Files:
    """The files of a run, as buttons. A computation has one data set for each of its cells: people choose one.

    Args:
        run: of which they are.

    Attributes:
        view: the buttons, and below them what could not be made.
        cell: the choice of a cell; `None` for a sweep.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        cells = run.cells() if "computation" in run.spec else []
        self.cell = pmui.Select(label="Cell", options=cells, size="small", width=220) if cells else None
        name = f"run-{run.short_id}"
        files = [
            File(f"{name}.nc", self.netcdf, "NetCDF", "all data, for xarray.open_dataset and other readers"),
            File(f"{name}.csv", self.csv, "CSV", "a row for each replica, round and agent"),
            File(f"{name}.html", self.html, "Report", "one page with everything, to send and to keep"),
        ]
        self.view = downloads(files, *([] if self.cell is None else [self.cell]))

    def netcdf(self) -> bytes:
        """The data as NetCDF."""
        return to_netcdf_bytes(self._data())

    def csv(self) -> bytes:
        """The data as CSV."""
        return to_csv(self._data()).encode()

    def html(self) -> bytes:
        """The report."""
        with DRAWING:
            return page([self._run]).encode()

    def _data(self) -> xr.Dataset:
        if "computation" not in self._run.spec:
            return load_stored(Store(self._run.root), self._run.id)
        found = None if self.cell is None else self._run.load(self.cell.value)
        if found is None:
            raise StoreError(
                f"Run {self._run.short_id} has no such cell, or none that is finished. The command that made it goes "
                "on with it."
            )
        return found
